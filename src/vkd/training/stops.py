"""Signals to stop or save, on which all processes agree at the same update."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch import distributed

from vkd.errors import Stopped

_SECONDS_A_MINUTE = 60


class Due(NamedTuple):
    """What is due after an update.

    Attributes:
        save: to save a checkpoint, as its time has come.
        stop: to save and end, as a signal has asked for.
    """

    save: bool
    stop: bool


class Stops:
    """Heeds SIGTERM, SIGUSR1 and a first Ctrl-C, and the clock, while a run trains.

    A signal may reach the processes at different updates, or but one of them. So each asks after
    every update, and all get the same answer, of the update before: no process waits for another.
    A second Ctrl-C ends at once. In a thread that is not the main one, Python hears no signals.

    Args:
        minutes: between checkpoints; 0 for none by time.
    """

    def __init__(self, minutes: float = 0.0) -> None:
        self._seconds = minutes * _SECONDS_A_MINUTE
        self._saved = monotonic()
        self._asked: signal.Signals | None = None
        self._is_waiting = self._has_saved = False
        self._group: Any = None
        self._pending: tuple[torch.Tensor, Any] | None = None
        self._former: dict[signal.Signals, Any] = {}
        if distributed.is_initialized() and distributed.get_world_size() > 1:
            # Of CPU tensors, so that no device is waited for.
            self._group = distributed.new_group(backend="gloo")

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Heed signals within the block."""
        known = [signal.SIGTERM, signal.SIGINT]
        if os.name == "posix":
            known.append(signal.SIGUSR1)
        if threading.current_thread() is threading.main_thread():
            self._former = {number: signal.signal(number, self._hear) for number in known}
        try:
            yield
        finally:
            for number, handler in self._former.items():
                signal.signal(number, handler)
            self._former = {}

    def _hear(self, number: int, _: FrameType | None) -> None:
        heard = signal.Signals(number)
        if heard == signal.SIGINT and self._asked == signal.SIGINT:
            raise KeyboardInterrupt
        first, self._asked = self._asked is None, heard
        if first:
            again = "; once more ends at once" if heard == signal.SIGINT else ""
            # A handler may interrupt a print, which cannot be printed into.
            os.write(2, f"vkd: {heard.name}: saving a checkpoint to resume from{again}\n".encode())
        if self._is_waiting:
            self._is_waiting = False
            raise StopNow

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Let a signal end what is done within the block by ``StopNow``, as it may take long.

        Of several processes all must come to its end, as they wait for each other in it.
        """
        self._is_waiting = self._group is None
        try:
            if self._is_waiting and self._asked:
                raise StopNow
            yield
        finally:
            self._is_waiting = False

    @property
    def is_asked(self) -> bool:
        """Whether this process has been asked to stop."""
        return self._asked is not None

    def due(self) -> Due:
        """Return what is due; each process asks once after each update, and at an epoch's end."""
        is_late = self._seconds > 0 and monotonic() - self._saved >= self._seconds
        mine = Due(is_late, self._asked is not None)
        if self._group is None:
            return mine
        answer = self._answer()
        votes = torch.tensor(mine, dtype=torch.uint8)
        work = distributed.all_reduce(
            votes, op=distributed.ReduceOp.MAX, group=self._group, async_op=True
        )
        self._pending = (votes, work)
        return answer

    def _answer(self) -> Due:
        if self._pending is None:
            return Due(False, False)
        votes, work = self._pending
        work.wait()
        save, stop = votes.tolist()
        # What was asked for before it was saved is not due again.
        save, self._has_saved = bool(save) and not self._has_saved, False
        return Due(save, bool(stop))

    def saved(self) -> None:
        """Note that a checkpoint has been saved now."""
        self._saved, self._has_saved = monotonic(), True

    def stopped(self, state: str) -> Stopped:
        """Return what ends the run after the checkpoint ``state`` was saved."""
        name = self._asked.name if self._asked else "another process"
        return Stopped(f"stopped by {name}; saved {state}: --resume goes on from there.")


class StopNow(BaseException):
    """Ends an evaluation that a signal has come into; nothing else may catch it."""
