"""Images with labels as data sets, their splits, and batches of them."""

from collections.abc import Sequence, Sized
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, Subset
from torchvision.transforms import v2

from vkd.data.reader import PictureReader
from vkd.errors import UserError
from vkd.inputs import InputFormat


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


class Indexed(Dataset):
    """Adds to the items (image, label) of any data set their index."""

    def __init__(self, items: Any) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[Any, Any, int]:
        image, label = self.items[index]
        return image, label, index


@dataclass
class Splits:
    """Training, validation and test images, whose items are (image, label, index).

    Attributes:
        train: None where there are only images to evaluate on.
        validation, test: never trained on.
        format: how the images are normalised, and their size.
        classes: names.
        constant: the training images (N, C, H, W) by index, where they are the same in every
            epoch; None where they are augmented, or not in memory.
        readers: of photographs, by train, validation and test, those that are there.
        notes: what was mended, left out or guessed while photographs were read.
    """

    train: Dataset | None
    validation: Dataset
    test: Dataset
    format: InputFormat
    classes: list[str]
    constant: Tensor | None = None
    readers: dict[str, PictureReader] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the images."""
        height, width = cast(tuple[int, int], self.format.size)
        return self.format.channels, height, width


def splits_of(
    train: Sized,
    validation: Sized,
    test: Sized | None = None,
    *,
    classes: Sequence[str] | int,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
) -> Splits:
    """Return splits of your own data sets, whose items are (image tensor (C, H, W), label).

    Args:
        train, validation, test: the data sets; validation stands for a test set that is left out.
        classes: names, or the number of classes.
        mean, std: what each channel of the images was normalised with, which a teacher with other
            inputs needs; left out, they count as not normalised (mean 0, deviation 1).

    Raises:
        UserError: if a split is empty, or mean and deviation do not fit the channels.
    """
    if not len(train) or not len(validation):
        raise UserError("The data sets train and validation must hold images.")
    channels, height, width = cast(Any, train)[0][0].shape
    means, stds = tuple(mean) or (0.0,) * channels, tuple(std) or (1.0,) * channels
    if len(means) != channels or len(stds) != channels:
        raise UserError(
            f"mean and std must have {channels} values, as the images have channels; found "
            f"{len(means)} and {len(stds)}."
        )
    names = [str(n) for n in range(classes)] if isinstance(classes, int) else list(classes)
    return Splits(
        Indexed(train),
        Indexed(validation),
        Indexed(validation if test is None else test),
        InputFormat(means, stds, (height, width)),
        names,
    )


def loader(
    images: Dataset,
    batch_size: int,
    shuffle: bool = False,
    workers: int = 0,
    drop_last: bool = False,
    sampler: Sampler | None = None,
    pin_memory: bool = True,
) -> DataLoader:
    """Return a loader of (images, labels, indices) batches; a ``sampler`` shuffles by itself.

    Memory is pinned where there is CUDA.
    """
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
        pin_memory=pin_memory and torch.cuda.is_available(),
    )


def _as_fetched(batch: Any) -> tuple[Tensor, Tensor, Tensor]:
    return batch
