"""What the benchmarks of methods share: results beside the tables, and tables in Markdown."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vkd.comparison.tuning import Trial
from vkd.reporting.environment import environment
from vkd.reporting.statistics import mean_and_deviation, paired_interval

RESULTS = Path(__file__).parent / "results"


def write_results(name: str, content: dict[str, Any]) -> None:
    """Write results with the environment that made them; paths of networks are left out."""
    recipe = {k: v for k, v in content.get("recipe", {}).items() if not k.endswith("_checkpoint")}
    content = content | ({"recipe": recipe} if recipe else {})
    text = json.dumps({"environment": environment()} | content, indent=1)
    (RESULTS / name).write_text(text + "\n")


def read_results(name: str) -> dict[str, Any]:
    """Return committed results."""
    return json.loads((RESULTS / name).read_text())


def trial_rows(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """Return a row for each trial, with its changes and validation metric of every seed."""
    return [
        {"method": trial.variant, **trial.changes, "validation": trial.validation}
        for trial in trials
    ]


def by_metric(results: dict[str, Any], metrics: Sequence[str]) -> dict[str, dict[str, list[float]]]:
    """Return {metric: {method: values by seed}} of a comparison."""
    return {m: {name: found[m] for name, found in results["methods"].items()} for m in metrics}


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
