"""Image data sets: read, split, and served in batches."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, Subset
from torchvision.transforms import v2

from vkd.data import digits, fashion_mnist

READERS = {"digits": digits.read, "fashion-mnist": fashion_mnist.read}


class Images(Dataset):
    """Images (N, C, H, W) with labels (N,); items are (image, label, index) of given indices.

    ``transform`` is applied to each image as it is fetched.
    """

    def __init__(
        self, images: Tensor, labels: Tensor, transform: v2.Transform | None = None
    ) -> None:
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        images, labels, _ = self.__getitems__([index])
        return images[0], labels[0], index

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        chosen = torch.tensor(indices)
        images = self.images[chosen]
        if self.transform is not None:
            images = torch.stack([self.transform(image) for image in images])
        return images, self.labels[chosen], chosen


@dataclass
class Splits:
    """Training, validation and test images, and what they are normalised with.

    ``train`` is None where there are only images to evaluate on. ``shape`` is (C, H, W).
    """

    train: Dataset | None
    validation: Dataset
    test: Dataset
    mean: tuple[float, ...]
    std: tuple[float, ...]
    shape: tuple[int, int, int]
    classes: list[str]

    @property
    def is_augmented(self) -> bool:
        """Whether the training images differ from one epoch to the next."""
        return not (isinstance(self.train, Images) and self.train.transform is None)


def read_small(
    name: str,
    path: str | Path = "",
    crop_padding: int = 0,
    flip: bool = False,
    train_fraction: float = 1.0,
) -> Splits:
    """Read a data set into memory and split it; the split is the same for every seed.

    Args:
        name: digits or fashion-mnist.
        path: its folder, where it is not found by itself.
        crop_padding: zero padding in pixels before a random crop of training images.
        flip: mirror half of the training images.
        train_fraction: share of the training split to keep.
    """
    train, validation, test, classes = READERS[name](path)
    kept = max(1, round(train_fraction * len(train[0])))
    train = (train[0][:kept], train[1][:kept])
    mean, std = train[0].mean().item(), train[0].std().item()
    channels, height, width = train[0].shape[1:]
    steps: list[v2.Transform] = []
    if crop_padding:
        steps.append(v2.RandomCrop((height, width), padding=crop_padding, fill=-mean / std))
    if flip:
        steps.append(v2.RandomHorizontalFlip())
    transform = v2.Compose(steps) if steps else None

    def images_of(part: tuple[Tensor, Tensor], augment: v2.Transform | None = None) -> Images:
        return Images((part[0] - mean) / std, part[1], augment)

    return Splits(
        images_of(train, transform),
        images_of(validation),
        images_of(test),
        (mean,),
        (std,),
        (channels, height, width),
        classes,
    )


def loader(
    images: Dataset,
    batch_size: int,
    shuffle: bool = False,
    workers: int = 0,
    drop_last: bool = False,
    sampler: Sampler | None = None,
) -> DataLoader:
    """Return a loader of (images, labels, indices) batches; a ``sampler`` shuffles by itself."""
    whole = images.dataset if isinstance(images, Subset) else images
    return DataLoader(
        images,
        batch_size,
        shuffle=shuffle and sampler is None,
        sampler=sampler,
        num_workers=workers,
        drop_last=drop_last,
        collate_fn=_as_fetched if isinstance(whole, Images) else None,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def _as_fetched(batch: Any) -> tuple[Tensor, Tensor, Tensor]:
    return batch
