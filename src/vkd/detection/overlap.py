"""The overlap of boxes, element by element.

torchvision's loss for it picks boxes by a mask, for whose number a GPU's host would have to wait.
"""

import torch
from torch import Tensor
from torchvision.ops import box_convert

# Of the picture; far below any box, and keeps divisions finite.
_SMALLEST_AREA = 1e-12


def overlaps(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Return the IoU and the generalised IoU (Rezatofighi et al. 2019) of boxes.

    Args:
        first, second: (..., 4), centre and size, of shapes that broadcast.

    Returns:
        Two tensors (...); pairs without any area have an IoU of 0.
    """
    first, second = (box_convert(boxes, "cxcywh", "xyxy") for boxes in (first, second))
    inner = _area(torch.maximum(first[..., :2], second[..., :2]),
                  torch.minimum(first[..., 2:], second[..., 2:]))  # fmt: skip
    outer = _area(torch.minimum(first[..., :2], second[..., :2]),
                  torch.maximum(first[..., 2:], second[..., 2:]))  # fmt: skip
    areas = [_area(boxes[..., :2], boxes[..., 2:]) for boxes in (first, second)]
    union = areas[0] + areas[1] - inner
    shared = inner / union.clamp(min=_SMALLEST_AREA)
    return shared, shared - (outer - union) / outer.clamp(min=_SMALLEST_AREA)


def _area(low: Tensor, high: Tensor) -> Tensor:
    width, height = (high - low).clamp(min=0).unbind(-1)
    return width * height
