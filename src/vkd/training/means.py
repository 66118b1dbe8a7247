"""Means of named values over an epoch."""

from typing import Any

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

    def state(self) -> list[dict[str, Any]]:
        """Return totals and counts by name."""
        return [dict(self._totals), dict(self._counts)]

    def load(self, state: list[dict[str, Any]], device: torch.device) -> None:
        """Take over a ``state`` that was saved."""
        totals, self._counts = state
        self._totals = {name: total.to(device) for name, total in totals.items()}


class EpochSums:
    """What is summed over the steps of an epoch, and saved with a state in the middle of one.

    Attributes:
        terms: of the loss.
        measures: see ``TrainingModule.measures``.
        explained: see ``TrainingModule.explained``.
        rates: the learning rate of each step.
    """

    def __init__(self) -> None:
        self.terms, self.measures, self.explained = Means(), Means(), Means()
        self.rates: list[float] = []

    def state(self) -> dict[str, Any]:
        """Return all sums, to be saved."""
        return {
            "terms": self.terms.state(),
            "measures": self.measures.state(),
            "explained": self.explained.state(),
            "rates": list(self.rates),
        }

    def load(self, state: dict[str, Any], device: torch.device) -> None:
        """Take over a ``state`` that was saved."""
        self.terms.load(state["terms"], device)
        self.measures.load(state["measures"], device)
        # States of earlier versions have none.
        if "explained" in state:
            self.explained.load(state["explained"], device)
        self.rates = list(state["rates"])
