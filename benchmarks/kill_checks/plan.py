"""Which trials are made of each case, spread evenly over what may be broken."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from kill_checks.children import Fault
from kill_checks.damage import Damaged, damages, pickles
from kill_checks.kills import Trials

_SIGNALS = ("SIGTERM", "SIGUSR1", "SIGINT")
_PLANTED = (
    "custom_checkpoint_0.pkl", "optimizer.bin", "random_states_0.pkl", "process-0.safetensors",
    "optimizer-0.safetensors", "network-0.safetensors",
)  # fmt: skip


class Planned(NamedTuple):
    """A trial.

    Attributes:
        kind: the row of the table.
        detail: what befalls the run.
        make: makes the trial and returns what was lost.
    """

    kind: str
    detail: str
    make: Callable[[], list[str]]


def spread(count: int, most: int, offset: float = 0.5) -> list[int]:
    """At most ``most`` of the numbers from 1 to ``count``, evenly spread."""
    if most >= count:
        return list(range(1, count + 1))
    return sorted({1 + int((place + offset) * count / most) for place in range(most)})


def kills(trials: Trials, most: int) -> Iterator[Planned]:
    """At most about ``most`` kills of a case."""
    events = trials.whole.events
    count, struck = len(events[0]), max(1, most // 3)
    own = most - struck
    twice = own // 4
    for place, event in enumerate(spread(count, own - twice)):
        name = f"before event {event} of {count}, {events[0][event - 1]}"
        free = place % 2 == 1
        yield Planned(
            "SIGKILL at a file event", name,
            lambda e=event, f=free: trials.killed(Fault(e), free=f),
        )  # fmt: skip
    for place, event in enumerate(spread(count, twice, 0.2)):
        kind, later = _SIGNALS[place % 3], 5 + event // 3
        yield Planned(
            "a signal at a file event, then SIGKILL", f"{kind} before {event}, then before {later}",
            lambda e=event, k=kind, x=later: trials.killed(Fault(e, k), Fault(x)),
        )  # fmt: skip
    for seed in range(struck):
        kind = ("SIGKILL", *_SIGNALS)[seed % 4]
        everyone = seed % 8 >= 4 and kind != "SIGINT"
        yield Planned(
            "a signal at a random instant", f"{kind}, seed {seed}, {'all' if everyone else 'one'}",
            lambda k=kind, s=seed, e=everyone: trials.struck(k, s, e),
        )  # fmt: skip
    if trials.case.processes:
        for rank, own_events in enumerate(events):
            for event in spread(len(own_events), max(2, most // 8)):
                yield Planned(
                    "torchrun starts again by itself", f"rank {rank}, before event {event}",
                    lambda e=event, r=rank: trials.restarted(Fault(e, rank=r)),
                )  # fmt: skip
    else:
        for seed in range(max(1, most // 12)):
            yield Planned(
                "Ctrl-C twice", f"seed {seed}", lambda s=seed: trials.interrupted_twice(s)
            )


def others(trials: Trials, most: int) -> Iterator[Planned]:
    """The trials that are no kills: damage, pickles, full disks, two processes in one folder."""
    count = len(trials.whole.events[0])
    for event in spread(count, max(2, most // 2)):
        name = f"from event {event} of {count} on"
        yield Planned("a full disk", name, lambda e=event: trials.filled(Fault(e, "full")))
    for size in (100, 2_000, 20_000, 100_000):
        name = f"files of at most {size:,} bytes"
        yield Planned("a full disk", name, lambda s=size: trials.filled(Fault(largest=s)))
    middle = [n for n, name in enumerate(trials.whole.events[0], 1) if "steps.jsonl" in name]
    for event in middle[1 : 1 + max(1, most // 10)]:
        yield Planned(
            "two in one folder", f"paused at {event}", lambda e=event: trials.resumed_twice(e)
        )
    yield from _damaged(trials, most)


def _damaged(trials: Trials, most: int) -> Iterator[Planned]:
    damaged = Damaged(trials)
    found = list(damages(damaged.names))
    for place in spread(len(found), 3 * most):
        name, damage = found[place - 1]
        yield Planned("a damaged state", name, lambda d=damage: damaged.damaged(d))
        if place % 4 == 0:
            yield Planned(
                "a damaged state, alone", name, lambda d=damage: damaged.damaged(d, alone=True)
            )
        if "manifest" not in name and place % 3 == 0:
            yield Planned(
                "a damaged state whose manifest agrees", name,
                lambda d=damage: damaged.damaged(d, seal=True),
            )  # fmt: skip
    mark = Path(trials.folder / "mark")
    for name in _PLANTED:
        for form, write in pickles(mark).items():
            yield Planned(
                "a stranger's pickle", f"{form} as {name}",
                lambda w=write, n=name: damaged.planted(w, n, mark),
            )  # fmt: skip
