"""Detectors of digits on cluttered canvases: alone, by matching tokens, and by VkD.

    python benchmarks/digits_detection.py FOLDER --teacher TEACHER_RUN

TEACHER_RUN is a run of `vkd train digits-detection-teacher`. Student and teacher have tokens of
equal width, so that tokens can be matched as they are, which is how detectors were distilled before
(paper, section 4.2); it is tried with three weights. VkD has the weight of its recipe.
Every student meets the test canvases once. Runs in FOLDER that are complete are not trained again.
"""

import argparse
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

from comparison import by_method, folder_name, pool, tables, write_results
from vkd.recipe import config_of, read_recipe

REFERENCE = "VkD: orthogonal, standardised"
_MATCHING = {"projection": "identity", "normalization": "identity"}
METHODS: dict[str, dict[str, Any]] = {
    "alone": {"feature_weight": 0.0},
    "tokens matched, weight 1": _MATCHING | {"feature_weight": 1.0},
    "tokens matched, weight 4": _MATCHING | {"feature_weight": 4.0},
    "tokens matched, weight 16": _MATCHING | {"feature_weight": 16.0},
    REFERENCE: {},
}
METRICS = ("AP", "AP50")


def run(job: tuple[dict[str, Any], Path]) -> dict[str, float]:
    """Train by ``fields`` into ``folder`` and return the test metrics."""
    import torch

    from vkd.api.evaluate import evaluate
    from vkd.api.train import train

    torch.set_num_threads(1)
    fields, folder = job
    train(config_of(fields), folder, resume=(folder / "recipe.yaml").is_file(), show=False)
    return evaluate(str(folder), device="cpu")


def main() -> None:
    """Train every method with every seed; print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a folder for the runs")
    parser.add_argument("--teacher", required=True, help="run folder of the teacher")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    recipe = asdict(config_of(read_recipe("digits-detection"))) | {
        "teacher_checkpoint": arguments.teacher,
        "device": "cpu",
        "trackers": "",
        "checkpoint_every": 1,
    }
    names = list(product(range(arguments.seeds), METHODS))
    jobs = [
        (recipe | METHODS[name] | {"seed": seed}, arguments.folder / folder_name(name, seed))
        for seed, name in names
    ]
    with pool() as workers:
        found = by_method(names, workers.map(run, jobs), METRICS)
    lines = tables(found, REFERENCE)
    print("\n".join(lines))
    write_results("digits_detection.json", {"metrics": found, "recipe": recipe, "table": lines})


if __name__ == "__main__":
    main()
