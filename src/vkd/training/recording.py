"""Recording, beside training, what a report shows of a run."""

import random
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import DistributedType

from vkd.errors import reason_of
from vkd.notes import say
from vkd.training.findings import Absent, Finding
from vkd.training.findings_files import write_findings
from vkd.training.similarities import AFTER, BEFORE, Similarities, write_similarities
from vkd.training.task import Evaluated, Task


def record_before(task: Task, model: Evaluated, folder: Path, compiled: bool) -> None:
    """Record how like the features are before the first step; all processes take part.

    Args:
        task: to ask.
        model: its model.
        folder: the run folder.
        compiled: whether networks are; a few samples would take longer to compile than to compute.
    """
    with _eagerly(compiled):
        _record_similarities(task, model, folder, BEFORE)


def record_after(task: Task, model: Evaluated, folder: Path, compiled: bool) -> None:
    """Record what there is to see after the last step; see ``record_before``.

    What fails is said, in the log and in the report, and costs no training.
    """
    with _eagerly(compiled):
        _record_similarities(task, model, folder, AFTER)
        found = _findings(task, model, folder)
    if model.accelerator.is_main_process:
        write_findings(folder, found)


def _findings(task: Task, model: Evaluated, folder: Path) -> list[Finding]:
    with _untouched_random_numbers():
        try:
            return task.findings(model)
        except Exception as error:
            return [Absent(title="Findings", text=_said(folder, "findings", error))]


def _record_similarities(task: Task, model: Evaluated, folder: Path, stage: str) -> None:
    if model.accelerator.distributed_type == DistributedType.FSDP:
        found = Similarities(reason="weights that are sharded are not compared")
    else:
        with _untouched_random_numbers():
            try:
                found = task.similarities(model)
            except Exception as error:
                found = Similarities(reason=_said(folder, "similarity to the teacher", error))
    if model.accelerator.is_main_process:
        write_similarities(folder, stage, found)


def _said(folder: Path, what: str, error: Exception) -> str:
    reason = f"{type(error).__name__}: {reason_of(error)}"
    say(folder, [f"the {what} could not be recorded for the report: {reason}"])
    return reason


def _eagerly(compiled: bool) -> AbstractContextManager[Any]:
    """Let compiled networks run as they are written, so that their taps are heard, too."""
    return torch.compiler.set_stance("force_eager") if compiled else nullcontext()


@contextmanager
def _untouched_random_numbers() -> Iterator[None]:
    """Give back the random numbers of Python, NumPy and torch as they were before.

    A run that records draws the same as one that does not.
    """
    own, numpys = random.getstate(), np.random.get_state()
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(own)
        np.random.set_state(numpys)
