"""Augmentation in two halves: here workers draw it, and ``batch_augmentation`` applies it.

A row of numbers is drawn for each image, by torchvision's transforms or as these draw, so that the
same seed gives the same augmentation whichever half of the machine applies it.
"""

from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

# Kernel and threshold of 3-augment; its kinds, of which an image gets one.
BLUR_SIDE = 9
SIGMAS = (0.1, 2.0)
THRESHOLD = 128
NO_KIND, GREY, SOLARISED, BLURRED = -1, 0, 1, 2
BRIGHTNESS, CONTRAST, SATURATION = 0, 1, 2
# What is drawn for a photograph: ``first`` to ``third`` are the order of the changes of colour,
# ``factor`` 0 to 2 their strengths.
PHOTOGRAPH_COLUMNS = (
    "mirrored", "kind", "sigma", "first", "second", "third", "factor_0", "factor_1", "factor_2",
)  # fmt: skip


class Drawn(NamedTuple):
    """Images whose augmentation is drawn and not yet applied.

    Attributes:
        pixels: (C, H, W) of an image, or (N, C, H, W) of a batch.
        draws: numbers (K,) of an image, or (N, K) of a batch.
    """

    pixels: Tensor
    draws: Tensor


class PhotographDraw:
    """Draws flip, 3-augment and changes of colour of an image, and hands over its 8-bit pixels.

    Args:
        augmentation: ``three-augment`` or ``none``.
        color_jitter: strength of changes of brightness, contrast and saturation.
        flip: mirror half of the images.
    """

    def __init__(self, augmentation: str, color_jitter: float, flip: bool) -> None:
        self.flip, self.is_one_of_three = flip, augmentation == "three-augment"
        self._blur = v2.GaussianBlur(BLUR_SIDE, SIGMAS)
        self._jitter = v2.ColorJitter(color_jitter, color_jitter, color_jitter)
        self.jitters = color_jitter > 0

    def __call__(self, image: Image.Image | torch.Tensor) -> Drawn:
        """Return the pixels (3, H, W), uint8, and a number for each of ``PHOTOGRAPH_COLUMNS``."""
        mirrored = float(self.flip and _is_mirrored())
        row = [mirrored, *self._one_of_three(), *self._colours()]
        return Drawn(functional.to_image(image).as_subclass(torch.Tensor), torch.tensor(row))

    def _one_of_three(self) -> tuple[int, float]:
        """The kind, and the blur's deviation."""
        if not self.is_one_of_three:
            return NO_KIND, 1.0
        kind = int(torch.multinomial(torch.tensor([1 / 3] * 3), 1))
        if kind == SOLARISED:
            torch.rand(1)  # torchvision asks whether to, at a probability of 1
        sigma = self._blur.make_params([])["sigma"][0] if kind == BLURRED else 1.0
        return kind, sigma

    def _colours(self) -> list[float]:
        """The order of the changes of colour, and their factors."""
        if not self.jitters:
            return [BRIGHTNESS, CONTRAST, SATURATION, 1.0, 1.0, 1.0]
        params = self._jitter.make_params([])
        order = [place for place in params["fn_idx"].tolist() if place <= SATURATION]
        names = ("brightness", "contrast", "saturation")
        return [*order, *(params[f"{name}_factor"] for name in names)]


class SmallDraw:
    """Draws padded crop and flip of an image (C, H, W); the row is top, left and mirrored.

    Args:
        size: (height, width) of the images.
        crop_padding: pixels of padding before a random crop back to size.
        flip: mirror half of the images.
    """

    def __init__(self, size: tuple[int, int], crop_padding: int, flip: bool) -> None:
        self.flip, self._crop = flip, v2.RandomCrop(size, padding=crop_padding)

    def __call__(self, image: Tensor) -> Drawn:
        """Return the image as it is, and its row (3,)."""
        place = self._crop.make_params([image])
        mirrored = self.flip and _is_mirrored()
        return Drawn(image, torch.tensor([place["top"], place["left"], mirrored]).long())


def _is_mirrored() -> bool:
    return bool(torch.rand(1) < 0.5)
