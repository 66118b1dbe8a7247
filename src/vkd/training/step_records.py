"""What is recorded every few updates: terms, rate, gradient norm, speed, waiting, memory."""

import math
import resource
import sys
from collections.abc import Iterable, Iterator
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from vkd.training.gradients import Gradients
from vkd.training.pace import Pace


class StepRecorder:
    """Makes the records of ``steps.jsonl``; values are read from the device only for these.

    Args:
        every: updates between records; 0 for none.
        images: images of a batch, over all processes.
    """

    def __init__(self, every: int, images: int) -> None:
        self.every, self.images = every, images
        self.start()

    def start(self) -> None:
        """Begin to measure time anew, at an epoch's start."""
        self.epoch, self._last = Pace(), Pace()

    def timed(self, batches: Iterable[Any]) -> Iterator[Any]:
        """Yield ``batches`` and measure the time that they take to come."""
        iterator = iter(batches)
        while True:
            began = perf_counter()
            try:
                batch = next(iterator)
            except StopIteration:
                return
            for pace in (self.epoch, self._last):
                pace.add(self.images, perf_counter() - began)
            yield batch

    def _is_due(self, update: int) -> bool:
        return self.every > 0 and update % self.every == 0

    def record(
        self,
        update: int,
        terms: dict[str, Tensor],
        gradients: Gradients,
        optimizer: torch.optim.Optimizer,
    ) -> dict[str, Any] | None:
        """Return the record of an update, or None where none is due.

        ``gradient_norm`` is that of all modules together, before clipping and without the loss
        scale of fp16, which is ``loss_scale``; ``waiting`` the share of time spent on loading since
        the last record; ``memory_gb`` the most memory so far, of the GPU or else of the process.
        An update that was left out has no terms, and a norm that is no finite number is null.
        """
        if not self._is_due(update):
            return None
        self._last.stop()
        values = {"gradient_norm": gradients.norm}
        if gradients.loss_scale is not None:
            values["loss_scale"] = gradients.loss_scale
        stacked = torch.stack([value.float() for value in (*terms.values(), *values.values())])
        numbers = [value if math.isfinite(value) else None for value in stacked.tolist()]
        found = {
            "update": update,
            "terms": dict(zip(terms, numbers, strict=False)),
            "lr": optimizer.param_groups[0]["lr"],
            **dict(zip(values, numbers[len(terms) :], strict=True)),
            "images_per_second": self._last.images_per_second,
            "waiting": self._last.waiting,
            "memory_gb": round(_memory() / 1e9, 3),
        }
        self._last = Pace()
        return found


def _memory() -> float:
    """Bytes: the most that a GPU's tensors took, or the process's largest size."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024
