"""Transforms of images with boxes: DETR's recipe, of torchvision's parts."""

from typing import Any

import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from vkd.data.transforms import normalised
from vkd.inputs import InputFormat

# How detectors take images, at any size.
DETECTOR_FORMAT = InputFormat(IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, interpolation="bilinear")
SCALES = tuple(range(480, 801, 32))


class RandomSizeCrop(v2.Transform):
    """Crops a part whose sides are random, which torchvision does at fixed sizes only.

    Args:
        smallest, largest: range of either side in pixels, within the image.
    """

    def __init__(self, smallest: int, largest: int) -> None:
        super().__init__()
        self.smallest, self.largest = smallest, largest

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw the crop."""
        height, width = v2.query_size(flat_inputs)
        sides = [_between(self.smallest, self.largest, side) for side in (height, width)]
        top, left = _between(0, height - sides[0]), _between(0, width - sides[1])
        return {"top": top, "left": left, "height": sides[0], "width": sides[1]}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Crop one image, boxes or masks."""
        return self._call_kernel(functional.crop, inpt, **params)


def _between(low: int, high: int, limit: int | None = None) -> int:
    high = high if limit is None else min(high, limit)
    return int(torch.randint(min(low, high), high + 1, ()))


def detection_training_transform(
    augmentation: str, short_side: int = 800, long_side: int = 1333
) -> v2.Compose:
    """Mirror half of the images and resize them; ``detr`` also varies and crops them.

    Args:
        augmentation: ``detr``, ``flip`` or ``none``.
        short_side, long_side: most pixels of either; ``detr`` scales its sizes to them.
    """
    steps: list[v2.Transform] = []
    if augmentation in ("detr", "flip"):
        steps.append(v2.RandomHorizontalFlip())
    if augmentation == "detr":
        scale = short_side / SCALES[-1]
        scales = [round(size * scale) for size in SCALES]
        resize = v2.RandomShortestSize(scales, long_side)
        cropped = v2.Compose(
            [
                v2.RandomShortestSize([round(size * scale) for size in (400, 500, 600)]),
                RandomSizeCrop(round(384 * scale), round(600 * scale)),
                v2.ClampBoundingBoxes(),
                resize,
            ]
        )
        steps.append(v2.RandomChoice([resize, cropped]))
    elif short_side:
        steps.append(v2.RandomShortestSize([short_side], long_side))
    return v2.Compose([*steps, v2.ClampBoundingBoxes(), v2.SanitizeBoundingBoxes(),
                       *normalised(DETECTOR_FORMAT)])  # fmt: skip


def detection_transform(
    short_side: int = 800, long_side: int = 1333, inputs: InputFormat = DETECTOR_FORMAT
) -> v2.Compose:
    """Resize images to be shown to a detector, and normalise them; 0 leaves the size."""
    steps = [v2.RandomShortestSize([short_side], long_side)] if short_side else []
    return v2.Compose([*steps, *normalised(inputs)])
