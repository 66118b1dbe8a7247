"""A scaled-down distilled DeiT on Fashion-MNIST, by each method; the table of the README.

    python benchmarks/fashion_mnist_deit.py WORK_FOLDER --teacher TEACHER_RUN [--tune]

TEACHER_RUN is a run of `vkd train fashion-mnist-teacher`. With ``--tune``, each method's weight is
chosen on the validation images; without, every method is trained with its weight and meets the
test images once. Students see a fifth of the training images (11,000) unless told otherwise, as
fifteen of them would take two cores hours with all; the teacher has seen all 55,000.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

from comparison import best_weights, folder_name, pool, table, write_results
from vkd.recipe import config_of, read_recipe

# Weights by --tune; all that distil features distil logits as well, as the paper does.
_FEATURES = {"logit_weight": 1.0}
METHODS: dict[str, dict[str, Any]] = {
    "alone": {"feature_weight": 0.0, "logit_weight": 0.0},
    "logit": {"feature_weight": 0.0, "logit_weight": 1.0},
    "linear": _FEATURES | {"projection": "linear", "normalization": "identity"},
    "VkD layer_norm": _FEATURES | {"normalization": "layer_norm"},
    "VkD standardize": _FEATURES | {"normalization": "standardize"},
}
LOGIT_WEIGHTS, FEATURE_WEIGHTS = (1.0, 2.0, 4.0), (1.0, 8.0, 64.0)


def run(job: tuple[dict[str, Any], Path, bool]) -> float:
    """Train by ``fields`` into ``folder``; return the validation or test accuracy in %."""
    import torch

    from vkd.api.evaluate import evaluate
    from vkd.api.train import train

    torch.set_num_threads(1)
    fields, folder, on_test = job
    metrics = train(config_of(fields), folder, show=False)
    return evaluate(str(folder), device="cpu")["accuracy"] if on_test else metrics["accuracy"]


def tune(workers: ProcessPoolExecutor, recipe: dict[str, Any], folder: Path) -> None:
    """Write the validation accuracy of every method with every weight."""
    shape = {"epochs": 3, "seed": 100, "evaluate_every": 3}
    jobs, labels = [], []
    for name, fields in list(METHODS.items())[1:]:
        key = "logit_weight" if name == "logit" else "feature_weight"
        for weight in LOGIT_WEIGHTS if name == "logit" else FEATURE_WEIGHTS:
            labels.append({"method": name, key: weight})
            values = recipe | fields | shape | {key: weight}
            jobs.append((values, folder / folder_name(f"tune-{name}", weight), False))
    found = list(workers.map(run, jobs))
    rows = [label | {"validation": score} for label, score in zip(labels, found, strict=True)]
    for row in rows:
        print(row, flush=True)
    write_results("fashion_mnist_deit_tuning.json", {"runs": rows})


def compare(workers: ProcessPoolExecutor, recipe: dict[str, Any], folder: Path, seeds: int) -> None:
    """Write the table: test accuracy by method, and VkD's paired differences."""
    chosen = best_weights("fashion_mnist_deit_tuning.json")
    names = list(product(range(seeds), METHODS))
    jobs = [
        (
            recipe | METHODS[name] | chosen.get(name, {}) | {"seed": seed},
            folder / folder_name(name, seed),
            True,
        )
        for seed, name in names
    ]
    accuracy: dict[str, list[float]] = {name: [] for name in METHODS}
    for (seed, name), score in zip(names, workers.map(run, jobs), strict=True):
        accuracy[name].append(score)
        print(f"{name}, seed {seed}: {score:.2f}", flush=True)
    lines = table(accuracy, "VkD layer_norm", "test accuracy, %")
    print("\n".join(lines))
    found = {"accuracy": accuracy, "weights": chosen, "recipe": recipe, "table": lines}
    write_results("fashion_mnist_deit.json", found)


def main() -> None:
    """Tune or compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a new folder for the runs")
    parser.add_argument("--teacher", required=True, help="run folder of the teacher")
    parser.add_argument("--tune", action="store_true")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--train-fraction", type=float, default=0.2)
    arguments = parser.parse_args()
    recipe = asdict(config_of(read_recipe("fashion-mnist-deit"))) | {
        "teacher_checkpoint": arguments.teacher,
        "device": "cpu",
        "trackers": "",
        "epochs": arguments.epochs,
        "train_fraction": arguments.train_fraction,
        "evaluate_every": arguments.epochs,
    }
    with pool() as workers:
        if arguments.tune:
            tune(workers, recipe, arguments.folder)
        else:
            compare(workers, recipe, arguments.folder, arguments.seeds)


if __name__ == "__main__":
    main()
