"""The results of a comparison as data."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vkd.comparison.plan import Plan
from vkd.comparison.runs import Result, finished
from vkd.comparison.tuning import Trial
from vkd.comparison.variants import Variant, differences
from vkd.files import read_json, write_json
from vkd.json_values import as_damaged, finite
from vkd.reporting.environment import environment
from vkd.reporting.statistics import Interval, paired_interval
from vkd.training.spec import Metric

RESULTS = "results.json"


def results_of(
    plan: Plan, reference: str, metric: Metric, trials: Sequence[Trial]
) -> dict[str, Any]:
    """Return what ``results.json`` holds of a finished comparison, but for its seconds."""
    return {
        "metric": metric.name,
        "unit": metric.unit,
        "lower_is_better": metric.lower_is_better,
        "reference": reference,
        "methods": {variant.name: _test_metrics(plan, variant) for variant in plan.variants},
        "networks": {
            run.folder.name: result.test for _, run in plan.networks if (result := finished(run))
        },
        "settings": {v.name: differences(v.config, plan.base) for v in plan.variants},
        "tuning": [asdict(trial) for trial in trials],
        "environment": environment(),
        "recipe": asdict(plan.base),
        "runs": {v.name: [_place(plan, run) for run in plan.runs_of(v)] for v in plan.variants},
    }


def write_results(folder: Path, results: dict[str, Any]) -> None:
    """Write the ``results.json`` of a comparison."""
    write_json(folder / RESULTS, results)


def read_results(folder: Path) -> dict[str, Any]:
    """Return the results in a comparison's folder; empty without any.

    Raises:
        UserError: if they are damaged.
    """
    file = folder / RESULTS
    return read_json(file) if file.is_file() else {}


def earlier_seconds(folder: Path) -> float:
    """Return how long a comparison took before it was continued.

    Raises:
        UserError: if its results are damaged.
    """
    with as_damaged(folder / RESULTS):
        return finite(read_results(folder).get("seconds", 0), 0)


def scores(results: dict[str, Any]) -> dict[str, list[float]]:
    """Return the main metric of each variant, by seed."""
    return {name: found[results["metric"]] for name, found in results["methods"].items()}


def paired_differences(results: dict[str, Any]) -> dict[str, Interval]:
    """Return what the reference has more than each other variant, over the seeds of both.

    Empty where there are fewer than two such seeds.
    """
    found, reference = scores(results), results["reference"]
    intervals = {}
    for name, values in found.items():
        shared = min(len(values), len(found[reference]))
        if name != reference and shared > 1:
            intervals[name] = paired_interval(found[reference][:shared], values[:shared])
    return intervals


def verdict(interval: Interval, lower_is_better: bool) -> str:
    """Return whether an interval says that the reference is better or worse, or neither."""
    if interval.low <= 0 <= interval.high:
        return "not separable"
    return "better" if (interval.mean < 0) == lower_is_better else "worse"


def best_variant(results: dict[str, Any]) -> str:
    """Return the name of the variant with the best mean."""
    sign = -1 if results["lower_is_better"] else 1
    means = {name: sign * sum(values) / len(values) for name, values in scores(results).items()}
    return max(means, key=lambda name: means[name])


def _test_metrics(plan: Plan, variant: Variant) -> dict[str, list[float]]:
    found = [finished(run) for run in plan.runs_of(variant)]
    results: list[Result] = [result for result in found if result is not None]
    shared = [name for name in results[0].test if all(name in r.test for r in results)]
    return {name: [result.test[name] for result in results] for name in shared}


def _place(plan: Plan, run: Any) -> str:
    return run.folder.relative_to(plan.folder).as_posix()
