"""How fast training goes, and how much of its time it waits for data."""

import os
import sys
from collections.abc import Sequence
from time import perf_counter

import torch

from vkd.notes import say

# What is worth a word: a share of the time, and as many seconds.
_LARGE_SHARE = 0.2
_MANY_SECONDS = 60.0


class Pace:
    """Images and time since it was made, by the host's clock, which waits for no device.

    Attributes:
        images: that came, over all processes.
        waited: seconds in which the host waited for batches. On a GPU that is at most what the
            steps lost, as earlier ones may still have run meanwhile.
    """

    def __init__(self) -> None:
        self._began, self._ended = perf_counter(), 0.0
        self.images, self.waited = 0, 0.0

    def add(self, images: int, seconds: float) -> None:
        """Count images that took ``seconds`` to come."""
        self.images += images
        self.waited += seconds

    def stop(self) -> None:
        """Let the time end now."""
        self._ended = perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds until the end, or until now."""
        return (self._ended or perf_counter()) - self._began

    @property
    def images_per_second(self) -> float:
        """Images a second, to five digits."""
        return float(f"{self.images / self.seconds:.5g}")

    @property
    def waiting(self) -> float:
        """The share of time waited, 0 to 1."""
        return round(self.waited / self.seconds, 4)


class WaitingHint:
    """Says once that training waits for data, where it does, and what may help.

    Args:
        advice: what would make data come faster, as far as it is known.
    """

    def __init__(self, advice: Sequence[str]) -> None:
        self.advice = advice
        self._seconds = self._waited = 0.0
        self._images, self._is_said = 0, False

    def add(self, pace: Pace) -> None:
        """Count an epoch, and speak up where a fifth of a long enough time has gone."""
        self._seconds += pace.seconds
        self._waited += pace.waited
        self._images += pace.images
        share = self._waited / self._seconds
        if self._is_said or share <= _LARGE_SHARE or self._waited < _MANY_SECONDS:
            return
        self._is_said = True
        busy = self._seconds - self._waited
        helps = f"; what may help: {', '.join(self.advice)}" if self.advice else ""
        note = (
            f"waited for {share:.0%} of {self._seconds:,.0f} s of training, at "
            f"{self._images / self._seconds:.4g} images/s of at most {self._images / busy:.4g}"
        )
        say("data", [note + helps])


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def worker_advice(workers: int, device: torch.device) -> list[str]:
    """Return the advice to start more ``workers`` where this process may use more cores.

    On the CPU the steps take all cores, but while a process without workers reads.
    """
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    each = cores() // here
    most = 1 if device.type == "cpu" else each
    if workers >= most or each < 2:
        return []
    return [f"more workers (--workers, now {workers}; {each} cores for each process)"]
