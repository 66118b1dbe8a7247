"""What a run tells: a progress bar or plain lines, ``metrics.jsonl`` and TensorBoard files."""

import json
import sys
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from vkd.training.checkpoint import read_metrics


class RunLog:
    """Writes the progress of one run, from the main process alone.

    Args:
        folder: the run folder.
        epochs, steps: epochs of the run and steps of an epoch.
        metric: the metric to show.
        done: epochs that an earlier, resumed run has finished; later lines of it are dropped.
        enabled: False on all but the main process.
        show: False to write files only.
        tensorboard: also write TensorBoard files.
    """

    def __init__(
        self,
        folder: Path,
        epochs: int,
        steps: int,
        metric: str,
        done: int = 0,
        enabled: bool = True,
        show: bool = True,
        tensorboard: bool = True,
    ) -> None:
        self.epochs, self.steps, self.metric, self.done = epochs, steps, metric, done
        self.enabled, self.show = enabled, show and enabled
        self._file = folder / "metrics.jsonl"
        self._began = monotonic()
        self._writer: Any = None
        self._bar: Progress | None = None
        if enabled:
            self._keep(done)
        if enabled and tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=done + 1)

    def __enter__(self) -> "RunLog":
        if self.show and sys.stderr.isatty():
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[terms]}"),
                console=Console(stderr=True),
            )
            self._bar.start()
            total, completed = self.epochs * self.steps, self.done * self.steps
            self._task = self._bar.add_task("training", total=total, completed=completed, terms="")
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        if self._writer is not None:
            self._writer.close()

    def note(self, message: str) -> None:
        """Show a message, and keep it in ``notes.txt`` of the run folder."""
        if not self.enabled:
            return
        with self._file.with_name("notes.txt").open("a") as file:
            file.write(message + "\n")
        print(message, file=sys.stderr)

    def rewind(self, epoch: int) -> None:
        """Drop the records after ``epoch``, to which the run has gone back."""
        if self.enabled:
            self._keep(epoch)
        if self._bar is not None:
            self._bar.update(self._task, completed=epoch * self.steps)

    def _keep(self, epochs: int) -> None:
        kept = read_metrics(self._file.parent)[:epochs] if self._file.is_file() else []
        self._file.write_text("".join(json.dumps(line) + "\n" for line in kept))

    def step(self) -> None:
        """Note that a step is done."""
        if self._bar is not None:
            self._bar.advance(self._task)

    def epoch(self, record: dict[str, Any]) -> None:
        """Write the ``record`` of an epoch: epoch, lr, train terms and validation metrics."""
        if not self.enabled:
            return
        with self._file.open("a") as file:
            file.write(json.dumps(record) + "\n")
        if self._writer is not None:
            self._writer.add_scalar("lr", record["lr"], record["epoch"])
            for part in ("train", "validation"):
                for name, value in record.get(part, {}).items():
                    self._writer.add_scalar(f"{part}/{name}", value, record["epoch"])
        terms = " ".join(f"{name} {value:.4g}" for name, value in record["train"].items())
        found = record.get("validation", {})
        score = f" {self.metric} {found[self.metric]:.2f}" if self.metric in found else ""
        line = f"{terms}{score} lr {record['lr']:.2e}"
        if self._bar is not None:
            description = f"epoch {record['epoch']}/{self.epochs}"
            self._bar.update(self._task, description=description, terms=line)
        elif self.show:
            left = (monotonic() - self._began) / (record["epoch"] - self.done)
            left = timedelta(seconds=round(left * (self.epochs - record["epoch"])))
            print(f"epoch {record['epoch']}/{self.epochs} {line} left {left}", file=sys.stderr)
