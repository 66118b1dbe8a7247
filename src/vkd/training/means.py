"""Means of named values over an epoch."""

import torch
from accelerate import Accelerator
from torch import Tensor


class Means:
    """Sums named scalars on their device: reading one would make the host wait at every step."""

    def __init__(self) -> None:
        self._totals: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, values: dict[str, Tensor]) -> None:
        """Add the values of a step; a name need not be there at every step."""
        for name, value in values.items():
            self._totals[name] = self._totals.get(name, 0) + value
            self._counts[name] = self._counts.get(name, 0) + 1

    def reduced(self, accelerator: Accelerator) -> dict[str, float]:
        """Return the mean of each name over its steps and over processes."""
        if not self._totals:
            return {}
        means = [total / self._counts[name] for name, total in self._totals.items()]
        reduced = accelerator.reduce(torch.stack(means), "mean").tolist()
        return dict(zip(self._totals, reduced, strict=True))
