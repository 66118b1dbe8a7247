"""What a device notes of failed steps while it computes, to be read later."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, distributed

GRADIENT = ""
_NEVER = 2**31 - 1


class Noticed(NamedTuple):
    """The first failure that the devices of all processes have noted.

    Attributes:
        term: name of the loss term, or ``GRADIENT``.
        step: place among ``Task.steps``.
        update: of the run, from 1.
        is_own: whether this process noted it.
        samples: of its batch (N,), where they are known.
    """

    term: str
    step: int
    update: int
    is_own: bool
    samples: Tensor | None


class FirstFailures:
    """For each loss term, and the gradient, the first update at which it was no finite number."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything, as after going back to a checkpoint."""
        self._first: dict[tuple[int, tuple[str, ...]], Tensor] = {}
        self._samples: dict[int, Tensor] = {}

    def add(
        self, step: int, update: int, values: Mapping[str, Tensor], samples: Tensor | None
    ) -> None:
        """Note the ``values`` of a step by name, without waiting for them."""
        key = step, tuple(values)
        bad = ~torch.stack([value.detach().float() for value in values.values()]).isfinite()
        first = self._first.get(key)
        if first is None:
            first = torch.full_like(bad, _NEVER, dtype=torch.int32)
        self._first[key] = torch.where(bad, first.clamp(max=update), first)
        if samples is not None:
            self._samples[update] = samples

    def read(self) -> Noticed | None:
        """Return the first failure on any process, and forget what went well; this waits."""
        if not self._first:
            return None
        own = torch.cat(list(self._first.values()))
        every = own.clone()
        if distributed.is_initialized():
            distributed.all_reduce(every, op=distributed.ReduceOp.MIN)
        mine, updates = torch.stack([own, every]).tolist()
        update = min(updates)
        samples, self._samples = self._samples, {}
        if update == _NEVER:
            return None
        place = updates.index(update)
        names = [(step, name) for step, names in self._first for name in names]
        step, term = names[place]
        return Noticed(term, step, update, mine[place] == update, samples.get(update))
