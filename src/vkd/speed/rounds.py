"""Taking turns, so that what a machine does meanwhile slows all down alike."""

from collections.abc import Callable, Mapping
from time import perf_counter
from typing import TypeVar

Key = TypeVar("Key")
Call = Callable[[], object]

WARM_UP = 3
# Below these a tenth and nine tenths say nothing.
FEWEST = 5


def in_turns(
    calls: Mapping[Key, Call],
    rounds: int,
    seconds: float,
    clock: Callable[[], float] = perf_counter,
) -> dict[Key, list[float]]:
    """Return the seconds that each call took in each round.

    Each is called three times to warm up. Every second round runs backwards, so that a machine that
    grows slower favours none.

    Args:
        calls: what to measure; each returns when its work is done.
        rounds: at most.
        seconds: after which no further round begins, but for the first five.
        clock: the time in seconds.
    """
    for call in calls.values():
        for _ in range(WARM_UP):
            call()
    taken: dict[Key, list[float]] = {key: [] for key in calls}
    order, began = list(calls), clock()
    for number in range(rounds):
        if number >= FEWEST and clock() - began > seconds:
            break
        for key in order if number % 2 == 0 else reversed(order):
            before = clock()
            calls[key]()
            taken[key].append(clock() - before)
    return taken
