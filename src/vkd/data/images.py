"""Images with labels as data sets, their splits, and batches of them."""

from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import torch
from accelerate.utils import send_to_device
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, Subset, default_collate

from vkd.data.batch_augmentation import BatchAugmentation
from vkd.data.reader import PictureReader
from vkd.data.workers import loader_of
from vkd.errors import RunError, UserError
from vkd.inputs import InputFormat


class Images(Dataset):
    """Images (N, C, H, W) with labels (N,); items are (image, label, index) of given indices.

    ``transform`` is applied to each image as it is fetched.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        transform: Callable[[Tensor], Any] | None = None,
    ) -> None:
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, Tensor, int]:
        image = self.images[index]
        return (
            image if self.transform is None else self.transform(image),
            self.labels[index],
            index,
        )

    def __getitems__(self, indices: list[int]) -> tuple[Any, Tensor, Tensor]:
        chosen = torch.tensor(indices)
        images: Any = self.images[chosen]
        if self.transform is not None:
            images = default_collate([self.transform(image) for image in images])
        return images, self.labels[chosen], chosen


class Indexed(Dataset):
    """Adds to the items (image, label) of any data set their index, and it to their errors."""

    def __init__(self, items: Any) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[Any, Any, int]:
        try:
            image, label = self.items[index]
        except UserError:
            raise
        except Exception as error:
            kind = type(error).__name__
            text = f"Item {index} of the data set could not be read: {kind}: {str(error)[:200]}"
            raise RunError(text) from error
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
        augmentation: finishes batches of training images on their device; None where they come
            finished.
        readers: of photographs, by train, validation and test, those that are there.
        notes: what was mended, left out or guessed while photographs were read.
    """

    train: Dataset | None
    validation: Dataset
    test: Dataset
    format: InputFormat
    classes: list[str]
    constant: Tensor | None = None
    augmentation: BatchAugmentation | None = None
    readers: dict[str, PictureReader] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the images."""
        height, width = cast(tuple[int, int], self.format.size)
        return self.format.channels, height, width

    def finished(self, images: Any, device: torch.device) -> Tensor:
        """Return a batch of training images as a network takes them, on a device."""
        moved = send_to_device(images, device, non_blocking=device.type == "cuda")
        return moved if self.augmentation is None else self.augmentation.to(device)(moved)


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
        train: the data set to train on.
        validation: never trained on.
        test: likewise; the validation set where it is left out.
        classes: names, or the number of classes.
        mean: what each channel of the images was normalised with, which a teacher with other
            inputs needs; left out, they count as not normalised (mean 0, deviation 1).
        std: likewise.

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
    *,
    classes: int,
    lowest: int = 0,
    companion: Callable[[Tensor], Any] | None = None,
) -> DataLoader:
    """Return a loader of (images, labels, indices) batches.

    Labels are looked at here, where batches are still on the CPU: as an index one that is too
    large stops a GPU with an assertion, of which its process cannot recover.

    Args:
        images: whose items are (image, label, index).
        batch_size, shuffle, workers, drop_last: of torch's ``DataLoader``.
        sampler: shuffles by itself.
        pin_memory: pin memory where there is CUDA.
        classes: above every label.
        lowest: the smallest label; -1 where images that cannot be read are passed on.
        companion: what each batch has as fourth part, by its indices (N,), where it is read.

    While batches are read:
        UserError: for a label that is none of these.
    """
    whole = images.dataset if isinstance(images, Subset) else images
    collate: Callable[[Any], Any] = partial(
        _checked, isinstance(whole, Images), range(lowest, classes)
    )
    return loader_of(
        images,
        batch_size,
        workers=workers,
        rows=len(cast(Sized, images if sampler is None else sampler)),
        pin_memory=pin_memory,
        shuffle=shuffle and sampler is None,
        sampler=sampler,
        drop_last=drop_last,
        collate_fn=collate if companion is None else partial(_accompanied, collate, companion),
    )


def _accompanied(
    collate: Callable[[Any], Any], companion: Callable[[Tensor], Any], fetched: Any
) -> tuple[Any, Tensor, Tensor, Any]:
    """What was fetched, as a batch with its companion."""
    images, labels, indices = collate(fetched)
    return images, labels, indices, companion(indices)


def _checked(is_batch: bool, known: range, fetched: Any) -> tuple[Any, Tensor, Tensor]:
    """What was fetched, as a batch, with labels (N,) that are known."""
    images, labels, indices = fetched if is_batch else default_collate(fetched)
    if not isinstance(labels, Tensor) or labels.ndim != 1 or labels.is_floating_point():
        shown = str(labels[0] if len(labels) else labels)[:60]
        raise UserError(f"Labels must be whole numbers, one for each image, found {shown!r}.")
    wrong = (labels < known.start) | (labels >= known.stop)
    if wrong.any():
        place = int(wrong.nonzero()[0])
        raise UserError(
            f"Image {int(indices[place])} of the data set has the label {int(labels[place])}; "
            f"labels must be from 0 to {known.stop - 1}, as there are {known.stop} classes."
        )
    return images, labels.long(), indices
