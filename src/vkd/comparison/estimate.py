"""How long the runs that are left will take."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from heapq import heapify, heappop, heappush
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from vkd.comparison.runs import Run
from vkd.training.records import read_metrics


class Kind(NamedTuple):
    """What takes equal time an epoch."""

    is_network: bool
    name: str


class Estimate:
    """Learns from finished and running runs how long an epoch of each variant takes."""

    def __init__(self) -> None:
        self._rates: dict[Kind, list[float]] = defaultdict(list)

    def add(self, run: Run, seconds: float) -> None:
        """Take in the time of a finished run."""
        self._rates[_kind(run)].append(seconds / run.config.epochs)

    def seconds(self, run: Run, epochs: int, running: dict[Kind, float]) -> float | None:
        """Return the time of some epochs of a run; None while nothing is known.

        Args:
            run: whose epochs.
            epochs: how many.
            running: seconds an epoch of runs that are not finished yet.
        """
        measured = {kind: fmean(rates) for kind, rates in self._rates.items()}
        rates = running | measured
        own = rates.get(_kind(run))
        if own is None:
            # Students of other variants are the best guess; a teacher is none for a student.
            others = [rate for kind, rate in rates.items() if kind.is_network == run.is_network]
            own = fmean(others) if others else None
        return None if own is None else own * epochs

    def left(self, active: Sequence[Run], waiting: Sequence[Run], processes: int) -> float | None:
        """Return the seconds until all runs are finished, on so many processes."""
        running: dict[Kind, float] = {}
        done: dict[Path, int] = {}
        for run in active:
            records = _records(run)
            done[run.folder] = len(records)
            if records:
                seconds = sum(record["seconds"] for record in records)
                running[_kind(run)] = seconds / len(records)
        ahead: list[tuple[Run, float]] = []
        behind: list[tuple[Run, float]] = []
        for run in [*active, *waiting]:
            epochs = run.config.epochs - done.get(run.folder, 0)
            seconds = self.seconds(run, epochs, running)
            if seconds is None:
                return None
            (ahead if run.folder in done else behind).append((run, seconds))
        return makespan(ahead, behind, processes)


def makespan(
    active: Iterable[tuple[Run, float]], waiting: Iterable[tuple[Run, float]], processes: int
) -> float:
    """Return when the last run ends if each process takes the next one as soon as it is free.

    Args:
        active: runs that are under way, with the seconds they still take.
        waiting: runs in the order in which they start, with the seconds they take.
        processes: that run side by side.
    """
    ends = {run.folder: seconds for run, seconds in active}
    free = [*ends.values()] + [0.0] * (processes - len(ends))
    heapify(free)
    for run, seconds in waiting:
        start = max([heappop(free), *(ends.get(folder, 0.0) for folder in run.needs)])
        ends[run.folder] = start + seconds
        heappush(free, start + seconds)
    return max(free)


def _kind(run: Run) -> Kind:
    return Kind(run.is_network, run.name)


def _records(run: Run) -> list[dict]:
    """The epochs that a run has finished."""
    return read_metrics(run.folder) if (run.folder / "metrics.jsonl").is_file() else []
