"""What a run writes while it trains: records, trackers, and progress on the terminal."""

import json
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from statistics import fmean
from time import monotonic
from typing import TYPE_CHECKING, Any

from vkd.files import append_whole, write_whole
from vkd.training.explained import standing, told_share
from vkd.training.extra_log import ExtraLog, RunShape
from vkd.training.records import NOTES, read_metrics, read_notes, read_records
from vkd.training.trackers import Trackers

if TYPE_CHECKING:
    from rich.progress import Progress

_log = logging.getLogger("vkd")
# Of an epoch's record, beside losses and metrics.
_NUMBERS = ("images_per_second", "waiting", "gradient_norm", "loss_scale", "skipped")


class RunLog:
    """Writes the progress of one run, from the main process alone.

    ``metrics.jsonl`` has a record for each epoch, ``steps.jsonl`` one every few updates. Both are
    on the disk when an epoch's record is, so that no state is newer than they are.

    Args:
        folder: the run folder.
        shape: how long the run is.
        trackers: experiment trackers.
        extra: further logs, in other formats.
        epoch, updates: where an earlier, resumed run stopped, perhaps within the next epoch; its
            later records are dropped.
        enabled: False on all but the main process.
        show: False to write files only.
    """

    def __init__(
        self,
        folder: Path,
        shape: RunShape,
        trackers: Trackers,
        *,
        extra: Sequence[ExtraLog] = (),
        epoch: int = 0,
        updates: int = 0,
        enabled: bool = True,
        show: bool = True,
    ) -> None:
        self.folder, self.shape, self.trackers = folder, shape, trackers
        self.extra = extra
        self._updates: list[dict[str, Any]] = []
        self.first_epoch, self.first_update = epoch, updates
        self.enabled, self.show = enabled, show and enabled
        self._began = monotonic()
        self._bar: Progress | None = None
        self._said: Counter[str] = Counter()
        if enabled:
            self._said.update(read_notes(folder))
            self._drop_after(epoch, updates)

    def __enter__(self) -> "RunLog":
        if self.show and sys.stderr.isatty():
            self._bar = _progress_bar()
            self._bar.start()
            total = self.shape.steps * self.shape.epochs
            done = self._steps(self.first_epoch, self.first_update)
            self._bar_task = self._bar.add_task("training", total=total, completed=done, terms="")
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        self.trackers.finish()

    def note(self, message: str) -> None:
        """Log a message, and keep it in ``notes.txt`` of the run folder."""
        if not self.enabled:
            return
        append_whole(self.folder / NOTES, message + "\n")
        _log.warning("%s", message)

    def note_of_epoch(self, message: str) -> None:
        """Note what an epoch says, which it says again where a run that was killed redoes it: such
        a repetition is logged, and not kept a second time.
        """
        if self._said[message]:
            self._said[message] -= 1
            _log.warning("%s", message)
        else:
            self.note(message)

    def standing(self) -> None:
        """Note each feature loss of the finished run that has hardly taught the student."""
        if self.enabled:
            for message in standing(read_metrics(self.folder)):
                self.note_of_epoch(message)

    def rewind(self, epoch: int, updates: int) -> None:
        """Drop the records after a state, see ``RunLog``, to which the run has gone back."""
        if self.enabled:
            self._drop_after(epoch, updates)
        if self._bar is not None:
            self._bar.update(self._bar_task, completed=self._steps(epoch, updates))

    def _steps(self, epoch: int, updates: int) -> int:
        """The batches of finished epochs, and of updates beyond them."""
        beyond = max(0, updates - epoch * self.shape.updates)
        return self.shape.steps * epoch + beyond * self.shape.steps // self.shape.updates

    def _drop_after(self, epoch: int, updates: int) -> None:
        epochs = self._keep("metrics.jsonl", "epoch", epoch)
        kept = self._keep("steps.jsonl", "update", updates)
        self._updates = [u for u in kept if self.shape.place(u["update"])[0] >= epoch]
        for log in self.extra:
            head = f"{log.header}\n" if log.header else ""
            write_whole(self.folder / log.file, head + log.text(epochs, kept, self.shape))

    def _keep(self, name: str, key: str, last: int) -> list[dict[str, Any]]:
        """Drop a file's records after the ``last`` and return the others."""
        file = self.folder / name
        if not file.exists():
            return []
        kept = [record for record in read_records(file, key) if record[key] <= last]
        write_whole(file, "".join(json.dumps(record) + "\n" for record in kept))
        return kept

    def step(self) -> None:
        """Advance the progress bar by a step."""
        if self._bar is not None:
            self._bar.advance(self._bar_task)

    def update(self, record: dict[str, Any]) -> None:
        """Write the ``record`` of some updates: terms, rate, gradient norm, speed and memory."""
        if self.enabled:
            append_whole(self.folder / "steps.jsonl", json.dumps(record) + "\n")
            self._updates.append(record)

    def epoch(self, record: dict[str, Any]) -> None:
        """Write the ``record`` of an epoch: lr, train terms, validation metrics and speed."""
        if not self.enabled:
            return
        append_whole(self.folder / "metrics.jsonl", json.dumps(record) + "\n")
        for log in self.extra:
            append_whole(self.folder / log.file, log.text([record], self._updates, self.shape))
            if self.show and log.shown and (text := log.shown(record)):
                print(text, flush=True)
        self._updates = []
        values = {"lr": record["lr"]}
        for part in ("train", "validation", "explained"):
            values |= {_tracked(part, name): value for name, value in record.get(part, {}).items()}
        values |= {name: record[name] for name in _NUMBERS if name in record}
        self.trackers.log(values, record["epoch"])
        self._show(record)

    def _show(self, record: dict[str, Any]) -> None:
        terms = " ".join(f"{name} {value:.4g}" for name, value in record["train"].items())
        found, metric = record.get("validation", {}), self.shape.metric
        score = f" {metric} {found[metric]:.2f}" if metric in found else ""
        pace = f"{record['images_per_second']:.4g} images/s waiting {record['waiting']:.0%}"
        shares = [told_share(share) for share in record.get("explained", {}).values()]
        share = f" explains {fmean(shares):.1%}" if shares else ""
        line = f"{terms}{share}{score} lr {record['lr']:.2e} {pace}"
        title = f"epoch {record['epoch']}/{self.shape.epochs}"
        if self._bar is not None:
            self._bar.update(self._bar_task, description=title, terms=line)
        elif self.show:
            left = (monotonic() - self._began) / (record["epoch"] - self.first_epoch)
            seconds = round(left * (self.shape.epochs - record["epoch"]))
            left = timedelta(seconds=min(seconds, int(timedelta.max.total_seconds())))
            print(f"{title} {line} left {left}", file=sys.stderr)


def _tracked(part: str, name: str) -> str:
    """The name of a value for trackers: MLflow refuses the arrow between a pair of layers."""
    return f"{part}/{name.replace(' -> ', ' to ')}"


def _progress_bar() -> "Progress":
    # Here, as most runs write to a file or a pipe, and have none.
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.table import Column

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TimeRemainingColumn(table_column=Column(no_wrap=True)),
        # Of the columns the one that goes on in a second line.
        TextColumn("{task.fields[terms]}", table_column=Column()),
        console=Console(stderr=True),
    )
