"""In which arithmetic and layout a frozen network runs, and how fast a device is in each."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from time import perf_counter
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

Timer = Callable[[Callable[[], object]], float]

# So many times as fast an arithmetic must be to be taken: more than noise, and than what is lost.
CLEARLY = 1.3
_ROUNDS = 15
# A measurement ends after the round in which this is spent: a device may be very slow in one.
_SECONDS_IN_ALL = 0.3
# Long enough that starting the work takes no share of it.
_LEAST_SECONDS, _LARGEST_BATCH = 2e-3, 1024
_CHANNELS, _GROUPS, _SIDE, _WIDTH = 224, 2, 28, 768


class Precision(NamedTuple):
    """Arithmetic and layout that a frozen network computes in; its weights stay as they are.

    Products run in ``dtype`` by autocast, which leaves sums, norms and what would lose much in
    float32, and needs no second copy of the weights.

    Attributes:
        dtype: of products; None for that of the code around, in whose autocast it then runs.
        channels_last: hand images (N, C, H, W) over with their channels last in memory.
    """

    dtype: torch.dtype | None = None
    channels_last: bool = False

    def running(self, device: str) -> AbstractContextManager[object]:
        """Return the context that the network runs in, on a type of device such as cpu."""
        if self.dtype is None:
            return nullcontext()
        return torch.autocast(device, self.dtype, enabled=self.dtype != torch.float32)

    def laid_out(self, images: Tensor) -> Tensor:
        """Return the images in the layout; tensors of other than four dimensions as they are."""
        if self.channels_last and images.ndim == 4:
            return images.contiguous(memory_format=torch.channels_last)
        return images

    def returned(self, output: Tensor) -> Tensor:
        """Return an output in float32, unless the code around decides."""
        return output if self.dtype is None else output.float()

    def __str__(self) -> str:
        layout = " with channels last" if self.channels_last else ""
        return f"{name_of(self.dtype)}{layout}"


AS_AROUND = Precision()
FLOAT32 = Precision(torch.float32)
# By the value of the recipes' ``teacher_precision``.
STATED = {"auto": AS_AROUND, "float32": FLOAT32, "bfloat16": Precision(torch.bfloat16, True)}


class HasPrecision(Protocol):
    """A frozen network whose arithmetic can be chosen.

    Attributes:
        precision: what it computes in from its next call on.
    """

    precision: Precision


def name_of(dtype: torch.dtype | None) -> str:
    """Return the name of a type, for example bfloat16; that of the step for None."""
    return "the precision of the step" if dtype is None else str(dtype).removeprefix("torch.")


def choose(seconds: Mapping[Precision, float]) -> Precision:
    """Return the first candidate, or a later one that is clearly faster than all chosen before it.

    Args:
        seconds: of each, in the order of preference.
    """
    chosen, *others = seconds
    for other in others:
        if seconds[chosen] >= CLEARLY * seconds[other]:
            chosen = other
    return chosen


@torch.no_grad()
def measure(
    device: torch.device, candidates: Iterable[Precision], timer: Timer | None = None
) -> dict[Precision, float]:
    """Return how long a device takes for a grouped and a plain convolution and a matrix product.

    These are the products of which networks for images consist. They take a few milliseconds each
    time; the candidates alternate, and the least time of each counts, as whatever else a machine
    does makes times longer only. All of it takes well under a second.

    Args:
        device: to measure.
        candidates: what to compute in; the size of the work is chosen by the first.
        timer: returns the seconds that a function takes; by default it runs it and measures.
    """
    timer = timer or partial(_seconds_of, device)
    first, *others = candidates
    batch = 1
    work = _work(device, first, batch)
    work()  # what comes first takes longer
    while timer(work) < _LEAST_SECONDS and batch < _LARGEST_BATCH:
        batch *= 2
        work = _work(device, first, batch)
        work()
    works = {first: work} | {other: _work(device, other, batch) for other in others}
    for other in others:
        works[other]()
    times: dict[Precision, list[float]] = {candidate: [] for candidate in works}
    spent = 0.0
    for _ in range(_ROUNDS):
        for candidate, part in works.items():
            times[candidate].append(timer(part))
            spent += times[candidate][-1]
        if spent > _SECONDS_IN_ALL:
            break
    return {candidate: min(every) for candidate, every in times.items()}


def _work(device: torch.device, precision: Precision, batch: int) -> Callable[[], Tensor]:
    # Not random, so that no random number of a training run moves.
    images = torch.ones(batch, _CHANNELS, _SIDE, _SIDE, device=device)
    grouped = torch.full((_CHANNELS, _CHANNELS // _GROUPS, 3, 3), 0.01, device=device)
    plain = torch.full((_CHANNELS, _CHANNELS, 1, 1), 0.01, device=device)
    matrix = torch.full((_WIDTH, _CHANNELS), 0.01, device=device)
    images = precision.laid_out(images)

    def run() -> Tensor:
        with precision.running(device.type):
            maps = F.conv2d(images, grouped, padding=1, groups=_GROUPS)
            maps = F.conv2d(maps, plain)
            return F.linear(maps.permute(0, 2, 3, 1).flatten(1, 2), matrix)

    return run


def _seconds_of(device: torch.device, function: Callable[[], object]) -> float:
    _wait_for(device)
    began = perf_counter()
    function()
    _wait_for(device)
    return perf_counter() - began


def _wait_for(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
