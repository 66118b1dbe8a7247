"""A further log of a run, in the format of another program.

Imports nothing heavy, so that a command can name one before it loads torch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class RunShape:
    """How long a run is, and what it trains.

    Attributes:
        epochs: of the run.
        steps: batches of a process in an epoch.
        updates: steps of the optimiser in an epoch.
        parameters: how many numbers the optimisers change.
        metric: the name of the metric to show.
    """

    epochs: int
    steps: int
    updates: int
    parameters: int
    metric: str

    def place(self, update: int) -> tuple[int, int]:
        """Return the epoch of an update and its place there, both from 0."""
        return divmod(update - 1, self.updates)


@dataclass(frozen=True, kw_only=True)
class ExtraLog:
    """A file in the run folder that is made of our own records, for readers of another format.

    It holds whole lines, appended after each epoch; a run that is resumed or goes back writes it
    anew of the records that stay.

    Attributes:
        file: its name.
        header: its first line; empty for none.
        lines: ``(record, updates, shape) -> lines`` of an epoch: its record in ``metrics.jsonl``,
            and those of its updates in ``steps.jsonl``.
        shown: ``(record) -> text`` to print after an epoch, empty for nothing; None where the
            log is a file alone.
    """

    file: str
    header: str = ""
    lines: Callable[[dict[str, Any], list[dict[str, Any]], RunShape], list[str]]
    shown: Callable[[dict[str, Any]], str] | None = None

    def text(
        self, epochs: list[dict[str, Any]], updates: list[dict[str, Any]], shape: RunShape
    ) -> str:
        """Return the lines of some epochs."""
        rows: list[str] = []
        for record in epochs:
            own = [u for u in updates if shape.place(u["update"])[0] == record["epoch"] - 1]
            rows += self.lines(record, own, shape)
        return "".join(f"{row}\n" for row in rows)
