"""What the comparisons of methods share: runs side by side, weights by validation, tables."""

import json
import multiprocessing
import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from vkd.reporting.environment import environment
from vkd.reporting.statistics import mean_and_deviation, paired_interval

RESULTS = Path(__file__).parent / "results"


def pool(processes: int = 0) -> ProcessPoolExecutor:
    """Return processes, one for each core unless told otherwise, to train in."""
    return ProcessPoolExecutor(processes or os.cpu_count(), multiprocessing.get_context("spawn"))


def write_results(name: str, content: dict[str, Any]) -> None:
    """Write results with the environment that made them; where networks lay is left out."""
    recipe = content.get("recipe", {})
    told = {key: value for key, value in recipe.items() if not key.endswith("_checkpoint")}
    content = content | ({"recipe": told} if recipe else {})
    text = json.dumps({"environment": environment()} | content, indent=1)
    (RESULTS / name).write_text(text + "\n")


def best_weights(name: str, is_better: Any = max) -> dict[str, dict[str, float]]:
    """Return each method's best weight by ``validation`` in the rows of committed results.

    ``is_better`` is max or min.
    """
    rows = json.loads((RESULTS / name).read_text())["runs"]
    methods = dict.fromkeys(row["method"] for row in rows)
    best = {
        method: is_better(
            (row for row in rows if row["method"] == method), key=lambda row: row["validation"]
        )
        for method in methods
    }
    return {
        method: {key: row[key] for key in row if key.endswith("_weight")}
        for method, row in best.items()
    }


def folder_name(method: str, number: float) -> str:
    """Return the name of a run's folder, of its method and seed or weight."""
    return f"{method}-{number}".replace(" ", "-").replace(",", "").replace(":", "")


def by_method(
    names: list[tuple[int, str]], results: Iterable[dict[str, float]], metrics: tuple[str, ...]
) -> dict[str, dict[str, list[float]]]:
    """Return {metric: {method: values by seed}} of the runs ``names`` (seed, method), each printed
    as its result comes."""
    methods = dict.fromkeys(method for _, method in names)
    found: dict[str, dict[str, list[float]]] = {m: {name: [] for name in methods} for m in metrics}
    for (seed, method), result in zip(names, results, strict=True):
        for metric in metrics:
            found[metric][method].append(result[metric])
        print(method, seed, {m: round(result[m], 3) for m in metrics}, flush=True)
    return found


def tables(found: dict[str, dict[str, list[float]]], reference: str) -> list[str]:
    """Return the lines of a ``table`` for each metric."""
    return [line for m, scores in found.items() for line in [*table(scores, reference, m), ""]]


def table(scores: dict[str, list[float]], reference: str, label: str) -> list[str]:
    """Return lines of a table: each method's mean and deviation, and what ``reference`` has more,
    paired by seed, with a 95 % interval."""
    lines = [f"| method | {label} | {reference} minus it, 95 % interval |", "|---|---|---|"]
    for name, values in scores.items():
        mean, deviation = mean_and_deviation(values)
        gap = paired_interval(scores[reference], values)
        against = f"{gap.mean:+.2f} ({gap.low:+.2f} to {gap.high:+.2f})"
        own = name == reference
        lines.append(f"| {name} | {mean:.2f} ± {deviation:.2f} | {'' if own else against} |")
    return lines
