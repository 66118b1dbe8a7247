"""The objects of a batch in tensors of one shape, so that no step depends on their number."""

from collections.abc import Sequence
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
    """

    labels: Tensor
    boxes: Tensor


def counts_of(targets: Targets) -> list[int]:
    """Return the number of objects of each image."""
    return [len(target["labels"]) for target in targets]


def objects_of(targets: Targets) -> Objects:
    """Return the objects of ``targets``: ``labels`` (K,) and ``boxes`` (K, 4) of each image."""
    places = max(_MULTIPLE, -(-max(counts_of(targets)) // _MULTIPLE) * _MULTIPLE)
    labels = pad_sequence([target["labels"] for target in targets], batch_first=True)
    boxes = pad_sequence([target["boxes"] for target in targets], batch_first=True)
    missing = places - labels.shape[1]
    return Objects(F.pad(labels, (0, missing)), F.pad(boxes, (0, 0, 0, missing)))


def mean_count(counts: Sequence[int], device: torch.device) -> Tensor:
    """Return the number of objects of a process, averaged over processes, at least 1."""
    count = torch.full((), float(sum(counts)), device=device)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(count)
        count /= torch.distributed.get_world_size()
    return count.clamp(min=1)
