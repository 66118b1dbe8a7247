"""Augmentation of batches on their device, as drawn for each image by ``draws``.

By hand, as torchvision's functions take one strength for a whole batch, and kornia's classes choose
rows by boolean indices, for which a GPU's host waits. Nothing here is read back, and no shape
depends on what was drawn: every change is computed for all images and kept where it was drawn.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vkd.data.draws import (
    BLUR_SIDE,
    BLURRED,
    CONTRAST,
    GREY,
    PHOTOGRAPH_COLUMNS,
    SATURATION,
    SOLARISED,
    THRESHOLD,
    Drawn,
)
from vkd.inputs import InputFormat

# Weights of red, green and blue in 65,536ths, as Pillow has them: exact in float32.
_LUMA = (19595.0, 38470.0, 7471.0)


class BatchAugmentation(nn.Module):
    """The rest of a training transform, applied to ``Drawn`` batches on their device."""

    @torch.no_grad()
    def forward(self, batch: Drawn) -> Tensor:
        """Return the finished images (N, C, H, W), float32."""
        with torch.autocast(batch.pixels.device.type, enabled=False):
            return self.finished(batch.pixels, batch.draws)

    def finished(self, pixels: Tensor, draws: Tensor) -> Tensor:
        """Return ``pixels`` (N, C, H, W), changed as ``draws`` (N, K) say."""
        raise NotImplementedError


class PhotographAugmentation(BatchAugmentation):
    """Flip, 3-augment, changes of colour and normalisation of 8-bit photographs (N, 3, H, W).

    Pixels are those that Pillow makes of the same draws; a blurred one may be one level of 255 off,
    as its sum is taken in another order.

    Args:
        inputs: normalisation of the result.
        augmentation: ``three-augment`` applies one of grey, solarise and blur to each image.
        color_jitter: above 0 where brightness, contrast and saturation change.
    """

    def __init__(self, inputs: InputFormat, augmentation: str, color_jitter: float) -> None:
        super().__init__()
        self.is_one_of_three, self.jitters = augmentation == "three-augment", color_jitter > 0
        self.mean = nn.Buffer(_per_channel(inputs.mean), persistent=False)
        self.std = nn.Buffer(_per_channel(inputs.std), persistent=False)
        # Places of the kernel, as torchvision's GaussianBlur spaces them.
        reach = (BLUR_SIDE - 1) / 8**0.5
        places = torch.linspace(-reach, reach, BLUR_SIDE)
        self.places = nn.Buffer(places, persistent=False)

    def finished(self, pixels: Tensor, draws: Tensor) -> Tensor:
        """Return the normalised photographs."""
        column = {
            name: part[:, None, None, None]
            for name, part in zip(PHOTOGRAPH_COLUMNS, draws.unbind(1), strict=True)
        }
        pixels = torch.where(column["mirrored"] > 0, pixels.flip(-1), pixels)
        if self.is_one_of_three:
            is_inverted = (column["kind"] == SOLARISED) & (pixels >= THRESHOLD)
            pixels = torch.where(is_inverted, 255 - pixels, pixels)
        images = pixels.float()
        if self.is_one_of_three:
            images = torch.where(column["kind"] == GREY, _grey(images), images)
            blurred = self._blurred(images, column["sigma"])
            images = torch.where(column["kind"] == BLURRED, blurred, images)
        if self.jitters:
            factors = torch.cat([column[f"factor_{place}"] for place in range(3)], 1)
            for name in ("first", "second", "third"):
                images = self._changed_colour(images, column[name], factors)
        return images.div_(255).sub_(self.mean).div_(self.std)

    def _blurred(self, images: Tensor, sigma: Tensor) -> Tensor:
        """Images blurred by a Gaussian kernel each, in whole levels.

        As sums of shifted images, which takes less time than a convolution of groups.
        """
        kernel = (-((self.places / sigma.view(-1, 1)) ** 2)).softmax(1)
        weights = [part[:, None, None, None] for part in kernel.unbind(1)]
        blurred = F.pad(images, (BLUR_SIDE // 2,) * 4, mode="reflect")
        for dimension in (3, 2):
            size = images.shape[dimension]
            total = weights[0] * blurred.narrow(dimension, 0, size)
            for place, weight in enumerate(weights[1:], 1):
                total.addcmul_(weight, blurred.narrow(dimension, place, size))
            blurred = total
        return blurred.round_()

    def _changed_colour(self, images: Tensor, change: Tensor, factors: Tensor) -> Tensor:
        """Images after the one ``change`` of each: blended with black, their mean, or their grey.

        Args:
            images: in whole levels.
            change: which it is (N, 1, 1, 1).
            factors: strengths (N, 3, 1, 1) of all changes.
        """
        grey = _grey(images)
        mean = (grey.mean((1, 2, 3), keepdim=True) + 0.5).floor()
        other = torch.where(change == CONTRAST, mean, torch.zeros_like(mean))
        other = torch.where(change == SATURATION, grey, other)
        factor = factors.take_along_dim(change.long(), 1)
        return (images - other).mul_(factor).add_(other).clamp_(0, 255).floor_()


class SmallAugmentation(BatchAugmentation):
    """Padded crop and flip of small images (N, C, H, W), which are normalised already.

    Args:
        crop_padding: pixels of padding around the images.
        fill: their value.
    """

    def __init__(self, crop_padding: int, fill: float) -> None:
        super().__init__()
        self.crop_padding, self.fill = crop_padding, fill

    def finished(self, pixels: Tensor, draws: Tensor) -> Tensor:
        """Return the images, cropped and mirrored."""
        height, width = pixels.shape[-2:]
        top, left, mirrored = (part[:, None, None, None] for part in draws.unbind(1))
        padded = F.pad(pixels, (self.crop_padding,) * 4, value=self.fill)
        rows = top + torch.arange(height, device=pixels.device)[:, None]
        cropped = padded.take_along_dim(rows, 2)
        columns = left + torch.arange(width, device=pixels.device)
        cropped = cropped.take_along_dim(columns, 3)
        return torch.where(mirrored > 0, cropped.flip(-1), cropped)


def _grey(images: Tensor) -> Tensor:
    """Luminance (N, 1, H, W) of colours (N, 3, H, W), both in whole levels."""
    red, green, blue = (
        part * weight for part, weight in zip(images.split(1, 1), _LUMA, strict=True)
    )
    return red.add_(green).add_(blue).add_(32768).div_(65536).floor_()


def _per_channel(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)[:, None, None]
