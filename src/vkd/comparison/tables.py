"""The results of a comparison as tables on the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.markup import escape
from rich.table import Table

from vkd.comparison.results import paired_differences, scores, verdict
from vkd.reporting.statistics import mean_and_deviation


def tables(results: dict[str, Any], titles: Mapping[str, str] | None = None) -> list[Table]:
    """Return the table of means and, with two or more seeds, that of paired differences.

    Args:
        results: what ``vkd.compare`` returned.
        titles: of variants, shown in place of their names.
    """
    titles = titles or {}
    return [score_table(results, titles), difference_table(results, titles)]


def score_table(results: dict[str, Any], titles: Mapping[str, str]) -> Table:
    """Return mean and deviation of each variant."""
    label = label_of(results)
    table = Table(title=f"Test split: {label}")
    for column in ("method", "mean", "deviation", "seeds"):
        table.add_column(column)
    for name, values in scores(results).items():
        mean, deviation = mean_and_deviation(values)
        spread = f"± {deviation:.2f}" if len(values) > 1 else "-"
        table.add_row(escape(titles.get(name, name)), f"{mean:.2f}", spread, str(len(values)))
    return table


def difference_table(results: dict[str, Any], titles: Mapping[str, str]) -> Table:
    """Return what the reference has more than each rival, paired by seed."""
    reference = results["reference"]
    found = paired_differences(results)
    caption = "" if found else "One seed: there are no intervals; give two or more."
    title = f"{titles.get(reference, reference)} minus ..., paired by seed, 95 % interval"
    table = Table(title=escape(title), caption=caption)
    for column in ("rival", "difference", "interval", "reference is"):
        table.add_column(column)
    for name, values in scores(results).items():
        if name in found:
            gap = found[name]
            ends = f"[{gap.low:+.2f}, {gap.high:+.2f}]"
            reading = verdict(gap, results["lower_is_better"])
            row = [titles.get(name, name), f"{gap.mean:+.2f}", ends, reading]
            table.add_row(*map(escape, row))
        elif name != reference:
            mean = values[0] - scores(results)[reference][0]
            table.add_row(escape(titles.get(name, name)), f"{-mean:+.2f}", "-", "not separable")
    return table


def label_of(results: dict[str, Any]) -> str:
    """Return the main metric with its unit and direction."""
    label = f"{results['metric']}, {results['unit']}" if results["unit"] else results["metric"]
    return f"{label} (lower is better)" if results["lower_is_better"] else label
