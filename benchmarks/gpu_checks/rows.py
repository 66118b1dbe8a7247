"""What a check finds: rows of the table."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

Outcome = Literal["measured", "passed", "failed", "skipped"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the table.

    Attributes:
        what: was measured or checked.
        outcome: ``measured`` has no limit; ``skipped`` has a reason in ``note``.
        value: the number found, in ``unit``; None where there is none.
        limit: the largest value that passes; None where there is none.
        times: the value, divided by that of the baseline.
        baseline: its name, of the same run.
        note: what else is to be said.
        behind: the numbers that the value was computed from, in the JSON file alone.
    """

    what: str
    outcome: Outcome
    value: float | None = None
    unit: str = ""
    limit: float | None = None
    times: float | None = None
    baseline: str = ""
    note: str = ""
    behind: tuple[float, ...] = ()


@dataclass(frozen=True)
class Baseline:
    """A measured value that others are divided by."""

    name: str
    value: float


def measured(
    what: str,
    value: float,
    unit: str,
    baseline: Baseline | None = None,
    note: str = "",
    behind: Iterable[float] = (),
) -> Row:
    """Return a row of a number that has no limit."""
    row = Row(
        what=what, outcome="measured", value=value, unit=unit, note=note, behind=tuple(behind)
    )
    if baseline is None:
        return row
    return replace(row, times=value / baseline.value, baseline=baseline.name)


def limited(
    what: str,
    value: float,
    limit: float,
    unit: str = "",
    note: str = "",
    behind: Iterable[float] = (),
) -> Row:
    """Return a row of a number that must be ``limit`` at most, which no NaN is."""
    outcome: Outcome = "passed" if value <= limit else "failed"
    return Row(
        what=what, outcome=outcome, value=value, unit=unit, limit=limit, note=note,
        behind=tuple(behind),
    )  # fmt: skip


def held(what: str, holds: bool, note: str = "") -> Row:
    """Return a row of something that must hold."""
    return Row(what=what, outcome="passed" if holds else "failed", note=note)


def skipped(what: str, reason: str) -> Row:
    """Return a row of what was not done, and why."""
    return Row(what=what, outcome="skipped", note=reason)


def failed(what: str, reason: str) -> Row:
    """Return a row of what went wrong."""
    return Row(what=what, outcome="failed", note=reason)
