"""Small data sets that are read into memory whole, by name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import v2

from vkd.data.batch_augmentation import SmallAugmentation
from vkd.data.catalogue import SMALL, reader_of
from vkd.data.draws import SmallDraw
from vkd.data.images import Images, Splits
from vkd.errors import FieldError, UserError
from vkd.inputs import InputFormat

Part = tuple[Tensor, Tensor]


def read_small(
    name: str,
    path: str | Path = "",
    crop_padding: int = 0,
    flip: bool = False,
    train_fraction: float = 1.0,
    augment_on_device: bool = False,
) -> Splits:
    """Read a data set into memory and split it; the split is the same for every seed.

    Args:
        name: one of ``vkd.data.catalogue.SMALL``.
        path: its folder, where it is not found by itself.
        crop_padding: zero padding in pixels before a random crop of training images.
        flip: mirror half of the training images.
        train_fraction: share of the training split to keep.
        augment_on_device: only draw crop and flip, for ``Splits.augmentation`` to apply.

    Raises:
        FieldError: for padding so wide that a crop could miss the image.
    """
    train, validation, test, classes = reader_of(SMALL[name])(path)
    kept = max(1, round(train_fraction * len(train[0])))
    train = (train[0][:kept], train[1][:kept])
    mean, std = _statistics(train[0])
    if not std > 0:
        place = f"{path} has" if path else f"{name} has"
        raise UserError(f"{place} training images of one and the same grey, {mean:.3g}.")
    _, height, width = train[0].shape[1:]
    if crop_padding >= min(height, width):
        raise FieldError(
            "crop_padding",
            f"must be below the {min(height, width)} pixels of the images' shorter side, found "
            f"{crop_padding}; a crop could miss the image.",
        )
    black = -mean / std
    steps: list[v2.Transform] = []
    if crop_padding:
        steps.append(v2.RandomCrop((height, width), padding=crop_padding, fill=black))
    if flip:
        steps.append(v2.RandomHorizontalFlip())
    transform: Callable[[Tensor], Any] | None = v2.Compose(steps) if steps else None
    if augment_on_device:
        transform = SmallDraw((height, width), crop_padding, flip)

    def images_of(part: Part, augment: Callable[[Tensor], Any] | None = None) -> Images:
        return Images((part[0] - mean) / std, part[1], augment)

    training = images_of(train, transform)
    return Splits(
        training,
        images_of(validation),
        images_of(test),
        InputFormat((mean,), (std,), (height, width)),
        classes,
        None if steps else training.images,
        SmallAugmentation(crop_padding, black) if augment_on_device else None,
    )


def _statistics(images: Tensor) -> tuple[float, float]:
    """Mean and deviation, in float32, of any number of values.

    Summed in float64: in float32 they would depend on the number of threads, and with them every
    pixel and what a store or a run says of its pictures.
    """
    mean = images.mean(dtype=torch.float64).float()
    square = (images - mean).square().sum(dtype=torch.float64)
    return mean.item(), (square / (images.numel() - 1)).sqrt().float().item()
