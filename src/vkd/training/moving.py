"""Batches on their device, copied while the step before them runs."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

import torch
from accelerate.utils import recursively_apply
from torch import Tensor

Batch = TypeVar("Batch")


def moved(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """Yield the batches of a loader of accelerate's, whose copies to CUDA wait for no step.

    accelerate copies a batch as it is fetched, without waiting for the copy where memory is
    pinned; but on the stream of the step before, and so after it. Here its loader runs on a stream
    of its own, which copies while the step computes.

    Args:
        batches: nested tensors, of a loader that copies them to ``device``.
        device: where the steps run.
    """
    if device.type != "cuda":
        yield from batches
        return
    iterator, copying = iter(batches), torch.cuda.Stream(device)
    while True:
        with torch.cuda.stream(copying):
            try:
                batch = next(iterator)
            except StopIteration:
                return
        step = torch.cuda.current_stream(device)
        step.wait_stream(copying)
        # The memory belongs to the copying stream, which may not use it again before the step has.
        recursively_apply(Tensor.record_stream, batch, step)
        yield batch
