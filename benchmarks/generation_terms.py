"""Ways to make the feature loss of a GAN act, by the share of the targets that is explained.

    python benchmarks/generation_terms.py WORK_FOLDER

The recipe `gan-digits`, one thing changed in each. Shares are of the first and the last epoch; the
distance is to the validation images. Two trainings run side by side. The teacher and the extractor
are trained in WORK_FOLDER, and the same command continues what is in it.
"""

import argparse
import json
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

import vkd
from comparison import write_results
from vkd.methods.catalogue import METHODS, MethodEntry
from vkd.methods.method import Signals, Sizes
from vkd.methods.vkd import ScaledProjection, VkD
from vkd.models.biggan import Discriminator
from vkd.normalization import identity
from vkd.reporting.statistics import mean_text
from vkd.training.records import read_metrics

RECIPE = "gan-digits"
# Updates over which a weight rises from 0.
RISE = 300
Pool = Callable[[Tensor], Tensor]


class AsItIs(VkD):
    """The discriminator's features are projected as they are."""

    def __init__(self, sizes: Sizes, **options: Any) -> None:
        super().__init__(sizes, **options | {"standardize_student": False})


class Scaled(AsItIs):
    """What is projected has a learned scale and shift for each feature."""

    def __init__(self, sizes: Sizes, **options: Any) -> None:
        super().__init__(sizes, **options)
        self.loss.projection = ScaledProjection(self.loss.projection, sizes.teacher_dim, identity)


class BothStandardized(AsItIs):
    """What is projected is standardised over the batch, as in the release's detectors."""

    def __init__(self, sizes: Sizes, **options: Any) -> None:
        super().__init__(sizes, **options)
        dim = sizes.teacher_dim
        self.loss.projection = ScaledProjection(self.loss.projection, dim, "standardize")


class Rising(VkD):
    """The weight rises from 0."""

    calls: Tensor

    def __init__(self, sizes: Sizes, **options: Any) -> None:
        super().__init__(sizes, **options)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, signals: Signals) -> Tensor:
        """Return the loss, times a share of the weight."""
        self.calls += 1
        return (self.calls / RISE).clamp(max=1) * super().forward(signals)


def mean(places: Tensor) -> Tensor:
    """The mean over places after the activation, as in the package."""
    return F.relu(places).mean((2, 3))


def total(places: Tensor) -> Tensor:
    """The sum over places, as BigGAN's logits use it."""
    return F.relu(places).sum((2, 3))


def before(places: Tensor) -> Tensor:
    """The mean before the activation."""
    return places.mean((2, 3))


def quadrants(places: Tensor) -> Tensor:
    """The means of four quadrants, one after the other."""
    return F.adaptive_avg_pool2d(F.relu(places), 2).flatten(1)


# By name: the method, how places are pooled, and changes of the recipe.
WAYS: dict[str, tuple[type[VkD], Pool, dict[str, Any]]] = {
    "alone": (VkD, mean, {"feature_weight": 0.0}),
    "as they are (before)": (AsItIs, mean, {}),
    "before the activation": (AsItIs, before, {}),
    "sum over places": (AsItIs, total, {}),
    "learned scale and shift": (Scaled, mean, {}),
    "standardised after the projection": (BothStandardized, mean, {}),
    "standardised before the projection (taken)": (VkD, mean, {}),
    "the same, before the activation": (VkD, before, {}),
    "the same, shrunk covariance": (VkD, mean, {"whitening": "shrunk"}),
    "the same, four quadrants": (VkD, quadrants, {}),
    "the same, rising weight": (Rising, mean, {}),
    "the same, weight 10": (VkD, mean, {"feature_weight": 10.0}),
}


def read_by(pool: Pool) -> None:
    """Let discriminators pool their places so, for the method alone."""
    made = Discriminator.__init__

    def init(self: Discriminator, *arguments: Any) -> None:
        made(self, *arguments)
        self.width = pool(torch.zeros(1, self.width, 8, 8)).shape[1]

    def forward(self: Discriminator, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        places = self.blocks(images)
        summed = total(places)
        by_class = (summed * self.embedding(labels)).sum(1)
        return self.linear(summed)[:, 0] + by_class, pool(places)

    Discriminator.__init__, Discriminator.forward = init, forward  # type: ignore[method-assign]


def trained(name: str, folder: Path, seed: int, epochs: int) -> dict[str, Any]:
    """Return what a training says at its end, in a process of its own."""
    torch.set_num_threads(1)
    method, pool, changes = WAYS[name]
    read_by(pool)
    METHODS["way"] = MethodEntry(target=method, compares="features")
    run = folder / f"{list(WAYS).index(name)}-{seed}"
    fields: dict[str, Any] = {
        "teacher_checkpoint": str(folder / "teacher"), "device": "cpu", "trackers": "",
        "extractor_checkpoint": str(folder / "extractor"), "seed": seed, "epochs": epochs,
        "evaluate_every": epochs, "teacher_precision": "float32",
    }  # fmt: skip
    if changes.get("feature_weight") != 0:
        fields |= {"method": "way", "feature_weight": 1.0}
    metrics = vkd.train(RECIPE, run, resume=run.exists(), show=False, **fields | changes)
    shares = [
        record["explained"]["feature"] for record in read_metrics(run) if "explained" in record
    ]
    return metrics | ({"first": 100 * shares[0], "last": 100 * shares[-1]} if shares else {})


def table(found: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Return lines of Markdown: means over the seeds."""
    columns = {"first": "explained in the first epoch, %", "last": "in the last, %",
               "frechet_distance": "Frechet distance", "accuracy": "accuracy, %",
               "diversity": "diversity"}  # fmt: skip
    lines = [f"| features | {' | '.join(columns.values())} |", f"|---|{'---|' * len(columns)}"]
    for name, runs in found.items():
        cells = []
        for column in columns:
            values = [run[column] for run in runs if column in run]
            cells.append(mean_text(values))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    """Train every way with every seed; print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a folder for the runs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--output", default="generation_terms.json")
    arguments = parser.parse_args()
    folder = arguments.folder.absolute()
    for role, seed in (("teacher", 0), ("extractor", 1)):
        if not (folder / role / "model.safetensors").exists():
            vkd.train("digits-teacher", folder / role, seed=seed, device="cpu", trackers="")
    context = multiprocessing.get_context("spawn")
    tasks = [(name, seed) for seed in range(arguments.seeds) for name in WAYS]
    # A process for each training, as it changes the discriminator.
    with ProcessPoolExecutor(2, context, max_tasks_per_child=1) as pool:
        train = partial(_task, folder=folder, epochs=arguments.epochs)
        results = list(pool.map(train, tasks))
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in WAYS}
    for (name, _), metrics in zip(tasks, results, strict=True):
        found[name].append(metrics)
    lines = table(found)
    print("\n".join(lines))
    seeds = f"seeds 0 to {arguments.seeds - 1}" if arguments.seeds > 1 else "seed 0"
    title = f"`{RECIPE}`, {arguments.epochs} epochs, {seeds}"
    content = {"title": title, "trials": [], "ways": found, "table": lines}
    write_results(arguments.output, content)


def _task(task: tuple[str, int], folder: Path, epochs: int) -> dict[str, Any]:
    """What a finished training said, or ``trained``."""
    name, seed = task
    file = folder / f"{list(WAYS).index(name)}-{seed}.json"
    if not file.exists():
        file.write_text(json.dumps(trained(name, folder, seed, epochs)))
    return json.loads(file.read_text())


if __name__ == "__main__":
    main()
