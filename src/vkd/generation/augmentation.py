"""Differentiable augmentation of what a discriminator sees (DiffAugment, Zhao et al. 2020)."""

import torch
from torch import Tensor


def diff_augment(images: Tensor) -> Tensor:
    """Change colour, place and a hidden square of each image (N, C, H, H), with gradients.

    Brightness, saturation and contrast vary by half; images move by an eighth of their side, and
    a square of half the side is blanked, as in the source.
    """
    return _cut_out(_translate(_recolour(images)))


def _uniform(images: Tensor, low: float, high: float) -> Tensor:
    return torch.empty(len(images), 1, 1, 1, device=images.device).uniform_(low, high)


def _recolour(images: Tensor) -> Tensor:
    images = images + _uniform(images, -0.5, 0.5)
    grey = images.mean(1, keepdim=True)
    images = (images - grey) * _uniform(images, 0, 2) + grey
    mean = images.mean((1, 2, 3), keepdim=True)
    return (images - mean) * _uniform(images, 0.5, 1.5) + mean


def _translate(images: Tensor) -> Tensor:
    count, _, height, width = images.shape
    reach = height // 8
    shifts = torch.randint(-reach, reach + 1, (2, count, 1), device=images.device)
    # One row and column of zeros on either side is what lies outside.
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1))
    rows = (torch.arange(height, device=images.device) + shifts[0] + 1).clamp(0, height + 1)
    columns = (torch.arange(width, device=images.device) + shifts[1] + 1).clamp(0, width + 1)
    index = torch.arange(count, device=images.device)[:, None, None]
    moved = padded.permute(0, 2, 3, 1)[index, rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2)


def _cut_out(images: Tensor) -> Tensor:
    count, _, height, width = images.shape
    side = height // 2
    masks = []
    for length in (height, width):
        # A square may lie half outside, so that corners are not spared.
        starts = torch.randint(-side // 2, length - side // 2, (count, 1), device=images.device)
        place = torch.arange(length, device=images.device)
        masks.append((place >= starts) & (place < starts + side))
    hidden = masks[0][:, :, None] & masks[1][:, None, :]
    return images * ~hidden[:, None]
