"""Trains every method with every seed and collects test accuracies."""

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vkd.recipe import config_of, read_recipe

# The four that the table compares; what they leave out is as in the recipe `digits`. Each has the
# weights that did best on validation digits, see benchmarks/digits_tuning.py.
METHODS: dict[str, dict[str, Any]] = {
    "none": {"feature_weight": 0.0},
    "logit": {"feature_weight": 0.0, "logit_weight": 1.0, "temperature": 4.0},
    "linear": {"projection": "linear", "normalization": "identity", "feature_weight": 30.0},
    "vkd": {},
}
NAMES = {
    "none": "alone",
    "logit": "logit distillation",
    "linear": "linear projection, raw features",
    "vkd": "VkD: orthogonal, layer norm",
}
_WEIGHTS = {"linear": 30.0, "mlp": 30.0, "orthogonal": 10.0}
GRID = {
    f"{projection}-{normalization}": {
        "projection": projection,
        "normalization": normalization,
        "feature_weight": weight,
    }
    for projection, weight in _WEIGHTS.items()
    for normalization in ("identity", "layer_norm", "standardize", "whiten")
}
# Cells of the grid that the table has already.
SAME = {"linear-identity": "linear", "orthogonal-layer_norm": "vkd"}


@dataclass(frozen=True)
class Job:
    """One run: a ``method`` with the recipe's fields it changes, a ``seed`` and its ``folder``."""

    method: str
    fields: dict[str, Any]
    seed: int
    folder: Path


def train_teacher(folder: Path, overrides: dict[str, Any]) -> float:
    """Train the digits teacher into ``folder`` and return its test accuracy in %."""
    return _run(Job("teacher", read_recipe("digits-teacher") | overrides, 0, folder))


def student_jobs(folder: Path, seeds: int, overrides: dict[str, Any], grid: bool) -> list[Job]:
    """Return the jobs of all methods; the four of the table come first."""
    chosen = dict(METHODS)
    if grid:
        chosen |= {name: fields for name, fields in GRID.items() if name not in SAME}
    recipe = read_recipe("digits") | {"teacher_checkpoint": str(folder / "teacher")} | overrides
    return [
        Job(method, recipe | fields, seed, folder / "runs" / f"{method}-{seed}")
        for method, fields in chosen.items()
        for seed in range(seeds)
    ]


def run_all(jobs: list[Job], processes: int | None = None) -> Iterator[tuple[Job, float]]:
    """Run jobs, one a core, and yield each with its test accuracy in % as it ends."""
    # These networks are too small to gain from a second thread.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes or os.cpu_count(), context, _single_thread) as pool:
        futures = {pool.submit(_run, job): job for job in jobs}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _single_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _run(job: Job) -> float:
    from vkd.api.evaluate import evaluate
    from vkd.api.train import train

    config = config_of(job.fields | {"seed": job.seed, "device": "cpu", "trackers": ""})
    train(config, job.folder, show=False)
    return evaluate(str(job.folder), device="cpu")["accuracy"]
