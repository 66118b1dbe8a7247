"""What is recorded every few updates: terms, rate, gradient norm, speed, waiting, memory."""

import resource
import sys
from collections.abc import Iterable, Iterator
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from vkd.training.pace import Pace


class StepRecorder:
    """Makes the records of ``steps.jsonl``; values are read from the device only for these.

    Args:
        every: updates between records; 0 for none.
        images: images of a batch, over all processes.
    """

    def __init__(self, every: int, images: int) -> None:
        self.every, self.images = every, images
        self._norms: list[Tensor] = []
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

    def observe_gradients(self, update: int, module: nn.Module, norm: Tensor | None) -> None:
        """Keep the norm of a module's gradients before clipping, where a record is due.

        Args:
            update: number of the update that they belong to.
            module: whose gradients.
            norm: where clipping has computed it already.
        """
        if self._is_due(update):
            gradients = [p.grad for p in module.parameters() if p.grad is not None]
            self._norms.append(get_total_norm(gradients) if norm is None else norm)

    def record(
        self, update: int, terms: dict[str, Tensor], optimizer: torch.optim.Optimizer
    ) -> dict[str, Any] | None:
        """Return the record of an update, or None where none is due.

        ``gradient_norm`` is that of all modules together, before clipping and, in fp16, with its
        loss scale; ``waiting`` the share of time spent on loading since the last record;
        ``memory_gb`` the most memory so far, of the GPU or else of the process.
        """
        if not self._is_due(update):
            return None
        self._last.stop()
        names = list(terms)
        norm = torch.stack([part.float() for part in self._norms]).norm()
        *values, total = torch.stack([*terms.values(), norm.to(terms[names[0]])]).tolist()
        found = {
            "update": update,
            "terms": dict(zip(names, values, strict=True)),
            "lr": optimizer.param_groups[0]["lr"],
            "gradient_norm": total,
            "images_per_second": self._last.images_per_second,
            "waiting": self._last.waiting,
            "memory_gb": round(_memory() / 1e9, 3),
        }
        self._norms.clear()
        self._last = Pace()
        return found


def _memory() -> float:
    """Bytes: the most that a GPU's tensors took, or the process's largest size."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024
