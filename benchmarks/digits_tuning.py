"""Choose each method's settings for the digits demonstration on its validation digits.

    python benchmarks/digits_tuning.py WORK_FOLDER

The learning rate is chosen for training alone, so that no rival of VkD is held back by it, and
then each way of distilling gets its own weight. The test digits are never looked at.
"""

import argparse
import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

from vkd.demo.experiment import METHODS, train_teacher
from vkd.recipe import config_of, read_recipe
from vkd.reporting.environment import environment
from vkd.reporting.statistics import mean_and_deviation

RATES = (2e-3, 4e-3, 6e-3, 1e-2)
LOGIT_WEIGHTS, TEMPERATURES = (1.0, 2.0, 4.0, 8.0), (2.0, 4.0)
FEATURE_WEIGHTS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0)


def candidates(method: str) -> list[dict[str, Any]]:
    """Settings to try for a method."""
    if method == "none":
        return [{"lr": rate} for rate in RATES]
    if method == "logit":
        pairs = product(LOGIT_WEIGHTS, TEMPERATURES)
        return [{"logit_weight": weight, "temperature": degree} for weight, degree in pairs]
    return [{"feature_weight": weight} for weight in FEATURE_WEIGHTS]


def validate(job: tuple[dict[str, Any], Path]) -> float:
    """Train by ``fields`` into a folder and return the validation accuracy in %."""
    import torch

    from vkd.api.train import train

    torch.set_num_threads(1)
    fields, folder = job
    return train(config_of(fields), folder, show=False)["accuracy"]


def main() -> None:
    """Print every candidate's validation accuracy and write the results beside the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a new folder for the runs")
    parser.add_argument("--seeds", type=int, default=8)
    arguments = parser.parse_args()
    train_teacher(arguments.folder / "teacher", {})
    recipe = read_recipe("digits") | {
        "teacher_checkpoint": str(arguments.folder / "teacher"),
        "device": "cpu",
        "trackers": "",
    }
    results: list[dict[str, Any]] = []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), context) as pool:
        for method, fields in METHODS.items():
            settings = candidates(method)
            jobs = [
                (
                    recipe | fields | setting | {"seed": 100 + seed},
                    _folder(arguments, method, i, seed),
                )
                for i, setting in enumerate(settings)
                for seed in range(arguments.seeds)
            ]
            found = list(pool.map(validate, jobs))
            best = 0.0
            for i, setting in enumerate(settings):
                accuracies = found[i * arguments.seeds : (i + 1) * arguments.seeds]
                mean, deviation = mean_and_deviation(accuracies)
                results.append({"method": method, **setting, "validation": accuracies})
                print(f"{method:<8}{setting!s:<46}{mean:6.2f} ± {deviation:.2f}", flush=True)
                if method == "none" and mean > best:
                    best, recipe["lr"] = mean, setting["lr"]
    output = Path(__file__).parent / "results" / "digits_tuning.json"
    output.write_text(json.dumps({"environment": environment(), "runs": results}, indent=1) + "\n")


def _folder(arguments: argparse.Namespace, method: str, candidate: int, seed: int) -> Path:
    return arguments.folder / f"{method}-{candidate}-{seed}"


if __name__ == "__main__":
    main()
