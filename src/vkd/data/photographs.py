"""Labelled pictures of any source, opened one at a time."""

from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from vkd.data.catalogue import PHOTOGRAPHS, reader_of
from vkd.data.crops import Crop, whole
from vkd.data.pictures import opened_picture
from vkd.data.reader import PictureReader, sorted_names
from vkd.data.shares import hold_out, relabelled
from vkd.data.sources import Opened, PhotographSource
from vkd.data.unreadable import Unreadable
from vkd.errors import UserError
from vkd.notes import say


class Photographs(Dataset):
    """Items (image, label, index) of a reader; unreadable images are named and skipped.

    In training, the next readable image takes the place of an unreadable one. In evaluation it
    gets the label -1, which no metric counts, so that every other image counts exactly once.

    Args:
        reader: the pictures.
        transform: makes a tensor of an image.
        substitute: True in training.
        max_corrupt: unreadable images to skip before ``RunError``.
        crop: makes of an opened picture what ``transform`` gets.

    Raises:
        RunError: when there are more unreadable images.
    """

    def __init__(
        self,
        reader: PictureReader,
        transform: v2.Transform,
        substitute: bool = False,
        max_corrupt: int = 100,
        crop: Crop = whole,
    ) -> None:
        self.reader, self.transform, self.crop = reader, transform, crop
        self.substitute = substitute
        self.unreadable = Unreadable(len(reader), max_corrupt, reader.source)

    def __len__(self) -> int:
        return len(self.reader)

    @property
    def skipped(self) -> int:
        """Images found unreadable so far."""
        return self.unreadable.count

    def __getitem__(self, index: int) -> tuple[Tensor, int, int]:
        place, found = self.unreadable.readable(index, self._open, self.substitute)
        if found is None:
            return torch.zeros_like(self.transform(Image.new("RGB", (8, 8)))), -1, place
        image, label = found
        return self.transform(image), label, place

    def _open(self, index: int) -> tuple[Image.Image | tv_tensors.Image, int]:
        source, label = self.reader[index]
        state = torch.get_rng_state()
        try:
            with opened_picture(source, name=self.reader.filename(index)) as picture:
                return self.crop(picture), label
        except UserError:
            # An unreadable picture draws no random numbers, whenever it is found so.
            torch.set_rng_state(state)
            raise


@dataclass
class PhotographParts:
    """The splits of a source of labelled pictures.

    Attributes:
        train: None where there are only images to evaluate on.
        validation: a share of the training images where there is no such split.
        test: that of validation where there is no such split.
        classes: names.
        readers: by train, validation and test, those that are there; see ``PictureReader``.
        notes: what was mended, left out or guessed, of all splits.
    """

    train: Photographs | None
    validation: Photographs
    test: Photographs
    classes: list[str]
    readers: dict[str, PictureReader]
    notes: list[str]


def read_photographs(
    source: PhotographSource,
    train_transform: v2.Transform,
    evaluation: v2.Transform,
    train_crop: Crop = whole,
) -> PhotographParts:
    """Return the splits of a source, whose labels are those of the training split's classes.

    Args:
        source: where they are.
        train_transform, evaluation: of the training images, and of all others.
        train_crop: of the training images, before their transform.

    Raises:
        UserError: if there is nothing to read, or a split has classes that training has not.
    """
    opened = open_source(source)
    most = source.max_corrupt

    def evaluated(split: str) -> Photographs:
        return Photographs(opened.readers[split], evaluation, False, most)

    train = opened.readers.get("train")
    validation = evaluated("validation" if "validation" in opened.readers else "test")
    test = evaluated("test") if "test" in opened.readers else validation
    return PhotographParts(
        None if train is None else Photographs(train, train_transform, True, most, train_crop),
        validation,
        test,
        validation.reader.classes,
        opened.readers,
        opened.notes,
    )


def open_source(source: PhotographSource) -> Opened:
    """Return the readers of a source, all with the same classes, and say what was noted.

    A validation split is held out of the training pictures where there is none.

    Raises:
        UserError: if there is nothing to read, or a split has classes that training has not.
    """
    if not source.path:
        raise UserError("The empty path has no images; name the folder of the data.")
    opened: Opened = reader_of(PHOTOGRAPHS[source.dataset])(source)
    readers = opened.readers
    every = (name for reader in readers.values() for name in reader.classes)
    classes = readers["train"].classes if "train" in readers else sorted_names(every)
    readers = {split: relabelled(reader, classes) for split, reader in readers.items()}
    if "train" in readers and "validation" not in readers:
        readers["train"], readers["validation"] = hold_out(
            readers["train"], source.validation_fraction
        )
    of_splits = [
        f"{Path(reader.source).name}: {note}"
        for reader in readers.values()
        for note in reader.notes
    ]
    notes = opened.notes + of_splits
    say(source.path, notes)
    return Opened(readers, notes)
