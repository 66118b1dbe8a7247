"""The objects of a batch in tensors of one shape, so that no step depends on their number."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

Targets = list[dict[str, Tensor]]
# Places come in multiples of it, so that compiled losses meet few shapes.
_MULTIPLE = 16


class Objects(NamedTuple):
    """The objects of B images, in M places each, of which the last may be empty.

    Attributes:
        labels: (B, M).
        boxes: (B, M, 4), centre and size in 0..1.
        counts: number of objects of each image.
    """

    labels: Tensor
    boxes: Tensor
    counts: tuple[int, ...]


def objects_of(targets: Targets) -> Objects:
    """Return the objects of ``targets``: ``labels`` (K,) and ``boxes`` (K, 4) of each image."""
    counts = tuple(len(target["labels"]) for target in targets)
    places = max(_MULTIPLE, -(-max(counts) // _MULTIPLE) * _MULTIPLE)
    labels = pad_sequence([target["labels"] for target in targets], batch_first=True)
    boxes = pad_sequence([target["boxes"] for target in targets], batch_first=True)
    missing = places - labels.shape[1]
    return Objects(F.pad(labels, (0, missing)), F.pad(boxes, (0, 0, 0, missing)), counts)


def mean_count(objects: Objects) -> Tensor:
    """Return the number of objects of a process, averaged over processes, at least 1."""
    count = objects.boxes.new_full((), sum(objects.counts), dtype=torch.float32)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(count)
        count /= torch.distributed.get_world_size()
    return count.clamp(min=1)
