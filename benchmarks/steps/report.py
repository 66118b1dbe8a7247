"""Goals and tables of what was measured."""

from collections.abc import Mapping
from statistics import median
from typing import Any, NamedTuple

from steps.measuring import Measured

Rows = Mapping[str, Measured]

LABELS = {
    "student": "student alone",
    "teacher": "teacher's forward pass alone",
    "network": "ours with the network",
    "network-bfloat16": "ours with the network in bfloat16",
    "store": "ours with the store",
    "release": "the release's way",
    "timm": "timm's FeatureDistillationTask, same student",
    "plain": "timm's plain-stem student alone",
    "timm-plain": "timm's FeatureDistillationTask, its plain-stem student",
    "torchdistill": "torchdistill, logits alone, same student",
    "projection": "our projection and its loss alone",
    "release-projection": "the release's projection and its loss alone",
}
UNIT = "student"


class Goal(NamedTuple):
    """A goal of a pair: what is compared, the ratio that was found, and the bound that it has."""

    name: str
    found: float
    bound: float
    is_least: bool = False

    @property
    def is_met(self) -> bool:
        """Whether the ratio keeps to the bound."""
        return self.found >= self.bound if self.is_least else self.found <= self.bound


def ratios(rows: Rows, name: str, *others: str) -> list[float]:
    """Return a row's seconds as a share of the sum of others', for each round that all took."""
    every = [rows[row].seconds for row in (name, *others)]
    return [own / sum(parts) for own, *parts in zip(*every, strict=False)]


def goals_of(rows: Rows, beside: Rows) -> list[Goal]:
    """Return the goals that are decided.

    Args:
        rows: all rows of a pair.
        beside: the store and the student again, with no other row's process alive.
    """
    found = []
    if "store" in beside:
        found.append(_goal("store / student alone", 1.05, beside, "store", UNIT))
    if "network-bfloat16" in rows:
        name = "network in bfloat16 / student alone"
        found.append(_goal(name, 2.0, rows, "network-bfloat16", UNIT))
    both = "network / (student alone + teacher's forward pass alone)"
    found.append(_goal(both, 1.03, rows, "network", UNIT, "teacher"))
    if "release" in rows:
        found.append(_goal("the release's way / network", 5.0, rows, "release", "network"))
    if "release-projection" in rows:
        name = "the release's projection and loss / ours"
        found.append(_goal(name, 5.0, rows, "release-projection", "projection"))
    if "timm" in rows:
        found.append(_goal("network / timm's task, same student", 1.0, rows, "network", "timm"))
    return found


def _goal(name: str, bound: float, rows: Rows, row: str, *others: str) -> Goal:
    return Goal(name, median(ratios(rows, row, *others)), bound, is_least=bound == 5.0)


def _spread_of(beside: Rows) -> str:
    times = ratios(beside, "store", UNIT)
    spread = f"{min(times):.3f} to {max(times):.3f}"
    return f"The store's goal: {len(times)} rounds of these two rows alone, {spread}."


def lines_of(
    rows: Rows,
    beside: Rows,
    profile: Mapping[str, list[dict[str, Any]]],
    left_out: Mapping[str, str],
) -> list[str]:
    """Return the Markdown of a pair: its rows, goals, see ``goals_of``, and profile."""
    lines = [
        "| step | s | × student alone (least to most) | peak MiB | of it by steps |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, row in rows.items():
        times = ratios(rows, name, UNIT)
        spread = f"{median(times):.3f} ({min(times):.3f} to {max(times):.3f})"
        memory = f"{row.peak:,.0f} | {row.step:,.0f}"
        lines.append(f"| {LABELS[name]} | {median(row.seconds):.3f} | {spread} | {memory} |")
    lines += ["", "| goal | found | bound | |", "| --- | --- | --- | --- |"]
    for goal in goals_of(rows, beside):
        bound = f"{'≥' if goal.is_least else '≤'} {goal.bound:g}"
        met = "met" if goal.is_met else "not met"
        lines.append(f"| {goal.name} | {goal.found:.3f} | {bound} | {met} |")
    if beside:
        lines += ["", _spread_of(beside)]
    lines += ["", "| cost of ours with the network | ms | share | step without it |"]
    lines.append("| --- | --- | --- | --- |")
    for cost in profile["parts"] + profile["operators"]:
        shown = f"{cost['milliseconds']:.1f} | {cost['share']:.1%}"
        lines.append(f"| {cost['name']} | {shown} | {cost['faster']:.2f} times as fast |")
    lines += [f"\n{LABELS[name]} is left out: {reason}." for name, reason in left_out.items()]
    return lines
