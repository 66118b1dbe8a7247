"""Whether several processes train as one does: for correctness, on the CPU.

    python benchmarks/weak_scaling.py

torchrun starts each number of gloo processes, whose batches stay equal (weak scaling). They must
end with bit-equal weights, averaged weights and metrics, draw random numbers of their own, and take
each image at most once an epoch, leaving out less than a step's.

The baseline is one process with as many images a step: every loss term of every update and the
final weights may differ by ``TOLERANCE``, as sums are added up in another order. A generator's
noise is each process's own, so that generation has no such baseline.

The share of communication is what a step takes longer than one that keeps its gradients to itself;
the two alternate. Where processes outnumber cores, they wait for each other besides.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from typing import Any

import timm
import torch
from accelerate.utils import gather_object, set_seed
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

import vkd
from vkd.api.train import end_processes
from vkd.detection import canvases
from vkd.recipe import recipe
from vkd.reporting.environment import environment
from vkd.tasks import task_of
from vkd.training.spec import resolve
from vkd.training.task import Objects, Task
from vkd.training.trainer import Trainer, make_accelerator

RESULTS = Path(__file__).parent / "results" / "weak_scaling.json"
TOLERANCE = 1e-4  # relative to values above one
EPOCHS, TIMED = 2, 10
CANVASES = {"train": 160, "validation": 10, "test": 10}
# Plain gradient descent, as Adam turns rounding noise on vanishing gradients into whole steps.
SHARED: dict[str, Any] = {
    "optimizer": "sgd", "lr": 0.02, "epochs": EPOCHS, "warmup_epochs": 0, "device": "cpu",
    "trackers": "", "evaluate_every": EPOCHS, "checkpoint_every": EPOCHS, "ema_decay": 0.9,
}  # fmt: skip

Case = tuple[str, Objects, dict[str, Any]]


@dataclass
class Outcome:
    """What a training came to, over all its processes.

    Attributes:
        terms: each update's loss terms, averaged over processes.
        epochs: the images of each epoch.
        images: number of images to train on.
        weights: the first process's final state.
        differing: what is not bit-equal on all processes, of weights, averages and metrics.
        is_apart: whether every process draws random numbers of its own.
        steps_per_second: of the first process, in training.
        communication: share of a step.
    """

    terms: list[dict[str, float]]
    epochs: list[list[int]]
    images: int
    weights: dict[str, Tensor]
    differing: list[str]
    is_apart: bool
    steps_per_second: float
    communication: float


def classification(folder: Path) -> Case:
    """Return a recipe, objects and changes, without BatchNorm: its batch is a process's own."""
    student = VisionTransformer(
        8, 2, 1, 10, embed_dim=32, depth=2, num_heads=2, class_token=False, global_pool="avg",
        fc_norm=False,
    )  # fmt: skip
    changes = {"student_layer": "norm", "feature_weight": 1.0, "logit_weight": 1.0}
    return "digits", Objects(student=student, teacher=timm.create_model("cnn_digits")), changes


def detection(folder: Path) -> Case:
    """Return a recipe, objects and changes, whose tokens are normalised one by one."""
    canvases.SIZES.update(CANVASES)
    teacher = vkd.create_model("vidt_digits_large", num_classes=10)
    changes = {"normalization": "layer_norm", "lr": 1e-3}
    return "digits-detection", Objects(teacher=teacher), changes


def generation(folder: Path) -> Case:
    """Return a recipe, objects and changes."""
    extractor = folder / "extractor.safetensors"
    changes = {"channels": 4, "noise_dim": 8, "samples": 50, "fraction": 0.5, "lr": 1e-3}
    given = {"extractor_checkpoint": str(extractor), "feature_weight": 0.0}
    return "gan-digits", Objects(), changes | given


CASES: dict[str, Callable[[Path], Case]] = {
    "classification": classification,
    "detection": detection,
    "generation": generation,
}


def outcome(case: str, batch_size: int, folder: Path) -> Outcome:
    """Train a case in this process and in those that torchrun started with it.

    Args:
        case: its name.
        batch_size: images a step of each process.
        folder: of all runs.
    """
    set_seed(0)
    name, objects, changes = CASES[case](folder)
    values = SHARED | changes | {"batch_size": batch_size, "objects": objects.given()}
    config = recipe(name, **values)
    accelerator = make_accelerator(config)
    run = folder / f"{case}-{batch_size}-{accelerator.num_processes}"
    run.mkdir(exist_ok=True)
    task: Task = resolve(task_of(config).task)(config, objects)
    set_seed(config.seed, device_specific=True)
    trainer = Trainer(task, config, run, accelerator, show=False)
    watched = Watched(task)
    metrics = trainer.fit()
    terms, images, moments = watched.terms, watched.images, watched.moments
    watched.close()
    everyone = gather_object([(terms, images)])
    length = len(terms) // EPOCHS
    state = task.steps[0].module.state_dict()
    average = trainer._ema.module.state_dict()
    equal = {"weights": state, "averages": average, "metrics": metrics}
    return Outcome(
        terms=[_mean([of[update] for of, _ in everyone]) for update in range(len(terms))],
        epochs=[
            [image for _, of in everyone for batch in of[first : first + length] for image in batch]
            for first in range(0, len(terms), length)
        ],
        images=len(trainer.train_batches.dataset),
        weights={name: value.clone() for name, value in state.items()},
        differing=[name for name, values in equal.items() if not _is_everywhere(values)],
        is_apart=len(set(gather_object([torch.rand(()).item()]))) == accelerator.num_processes,
        steps_per_second=1 / median(after - before for before, after in pairwise(moments)),
        communication=share_of_communication(trainer),
    )


class Watched:
    """Keeps each update's ``terms``, the numbers of its ``images``, and when it began."""

    def __init__(self, task: Task) -> None:
        self.terms: list[dict[str, float]] = []
        self.images: list[list[int]] = []
        self.moments: list[float] = []
        self._first = task.steps[0].module
        self._hooks = [
            step.module.register_forward_hook(self._keep, with_kwargs=True) for step in task.steps
        ]

    def _keep(self, module: Any, args: Any, kwargs: Any, found: Any) -> None:
        if kwargs.get("predict"):
            return
        if module is self._first:
            self.moments.append(time.perf_counter())
            self.images.append(_numbers(args[0]))
            self.terms.append({})
        self.terms[-1] |= {name: float(term.detach()) for name, term in found.items()}

    def close(self) -> None:
        """Watch no longer."""
        for hook in self._hooks:
            hook.remove()


def _numbers(batch: Any) -> list[int]:
    """The numbers of a batch's images."""
    if isinstance(batch, dict):
        return [int(target["image_id"]) for target in batch["targets"]]
    return batch[2].tolist()


def _mean(terms: list[dict[str, float]]) -> dict[str, float]:
    return {name: fmean(of[name] for of in terms) for name in terms[0]}


def _is_everywhere(values: dict[str, Any]) -> bool:
    """Whether all processes hold the same numbers, bit for bit."""
    found = blake2b()
    for name, value in values.items():
        found.update(name.encode() + torch.as_tensor(value).contiguous().numpy().tobytes())
    return len(set(gather_object([found.hexdigest()]))) == 1


def share_of_communication(trainer: Trainer) -> float:
    """Return the share of a step of the first module that synchronising its gradients takes."""
    if trainer.accelerator.num_processes == 1:
        return 0.0
    module, batch = trainer.modules[0].train(), next(iter(trainer.train_batches))
    times: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(TIMED):
        for is_alone, seconds in times.items():
            began = time.perf_counter()
            with module.no_sync() if is_alone else nullcontext():
                torch.stack(list(module(batch).values())).sum().backward()
            seconds.append(time.perf_counter() - began)
            module.zero_grad()
    return 1 - median(times[True]) / median(times[False])


def together(case: str, processes: int, batch_size: int, folder: Path) -> Outcome:
    """Train a case with processes of torchrun."""
    file = folder / f"{case}-{processes}.pt"
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone")
    words = ("--case", case, "--batch-size", str(batch_size), "--folder", str(folder))
    command = [*launcher, f"--nproc_per_node={processes}", __file__, *words]
    done = subprocess.run([*command, "--file", str(file)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return Outcome(**torch.load(file, weights_only=True))


def faults(found: Outcome, images_a_step: int) -> list[str]:
    """Return what several processes must not do and did."""
    wrong = [f"{name} differ between processes" for name in found.differing]
    if not found.is_apart:
        wrong.append("processes draw the same random numbers")
    for number, epoch in enumerate(found.epochs, 1):
        if len(set(epoch)) < len(epoch):
            wrong.append(f"an image comes twice in epoch {number}")
        if not 0 <= found.images - len(epoch) < images_a_step:
            wrong.append(f"epoch {number} has {len(epoch)} of {found.images} images")
    return wrong


def differences(found: Outcome, baseline: Outcome) -> dict[str, float]:
    """Return the largest difference of each loss term over all updates, and of the weights.

    Relative to the baseline's values where these are above one.
    """
    largest: dict[str, float] = {}
    for ours, theirs in zip(found.terms, baseline.terms, strict=True):
        for name, value in theirs.items():
            apart = abs(ours[name] - value) / max(abs(value), 1.0)
            largest[name] = max(largest.get(name, 0.0), apart if math.isfinite(apart) else math.inf)
    parts = [
        ((found.weights[name] - value).abs() / value.abs().clamp(min=1)).max().item()
        for name, value in baseline.weights.items()
    ]
    return largest | {"weights": max(parts)}


def compared(case: str, processes: int, batch_size: int, folder: Path) -> dict[str, Any]:
    """Return the row of a case with a number of processes.

    Raises:
        SystemExit: with what is wrong.
    """
    found = together(case, processes, batch_size, folder)
    wrong = faults(found, processes * batch_size)
    row: dict[str, Any] = {
        "images_a_step": processes * batch_size,
        "updates": len(found.terms),
        "steps_per_second": float(f"{found.steps_per_second:.3g}"),
        "communication": round(found.communication, 3),
    }
    if case != "generation" and processes > 1:
        apart = differences(found, outcome(case, processes * batch_size, folder))
        row["differences"] = {name: float(f"{value:.2g}") for name, value in apart.items()}
        wrong += [
            f"{name} differs by {value:.2g} from one process's"
            for name, value in apart.items()
            if not value <= TOLERANCE
        ]
    if wrong:
        raise SystemExit(f"{case}, {processes} processes: {'; '.join(wrong)}")
    return row


def main() -> None:
    """Compare every case with every number of processes, print the rows and write all of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--batch-size", type=int, default=8, help="of each process")
    parser.add_argument("--case", choices=CASES, help="this one alone; writes no results")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.file:  # one of torchrun's processes
        found = outcome(flags.case, flags.batch_size, flags.folder)
        if torch.distributed.get_rank() == 0:
            torch.save(vars(found), flags.file)
        end_processes()
        return
    rows: dict[str, dict[str, Any]] = {}
    for case in [flags.case] if flags.case else CASES:
        for processes in flags.processes:
            with tempfile.TemporaryDirectory() as name:
                prepare(Path(name))
                row = compared(case, processes, flags.batch_size, Path(name))
            rows.setdefault(case, {})[str(processes)] = row
            print(f"{case}, {processes} processes: {row}", flush=True)
    if not flags.case:
        kept = {"environment": environment(), "tolerance": TOLERANCE, "batch_size": flags.batch_size}
        RESULTS.write_text(json.dumps(kept | {"processes": rows}, indent=1) + "\n")


def prepare(folder: Path) -> None:
    """Write what the cases read: a network with random weights to measure generated images by."""
    set_seed(0)
    save_file(timm.create_model("cnn_digits").state_dict(), folder / "extractor.safetensors")


if __name__ == "__main__":
    main()
