"""Image folders, shards and Hugging Face data sets, read one image at a time."""

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from timm.data import create_dataset
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from vkd.data.catalogue import PHOTOGRAPHS, reader_of
from vkd.data.pictures import open_picture
from vkd.data.shards import ShardReader, find_shards
from vkd.data.unreadable import Unreadable
from vkd.errors import RunError, UserError

_SPLITS = {"train": ("train",), "validation": ("validation", "val", "test")}


class Photographs(Dataset):
    """Items (image, label, index) of a timm reader; unreadable images are named and skipped.

    In training, the next readable image takes the place of an unreadable one. In evaluation it
    gets the label -1, which no metric counts, so that every other image counts exactly once.

    Args:
        reader: a timm reader.
        transform: makes a tensor of a PIL image.
        substitute: True in training.
        max_corrupt: unreadable images to skip before ``RunError``.

    Raises:
        RunError: when there are more unreadable images.
    """

    def __init__(
        self, reader: Any, transform: v2.Transform, substitute: bool = False, max_corrupt: int = 100
    ) -> None:
        self.reader, self.transform = reader, transform
        self.substitute = substitute
        self.unreadable = Unreadable(len(reader), max_corrupt)

    def __len__(self) -> int:
        return len(self.reader)

    @property
    def skipped(self) -> int:
        """Images found unreadable so far."""
        return self.unreadable.count

    def __getitem__(self, index: int) -> tuple[Tensor, int, int]:
        for step in range(len(self)):
            current = (index + step) % len(self)
            read = None if current in self.unreadable else self._read(current)
            if read is not None:
                return self.transform(read[0]), read[1], current
            if not self.substitute:
                return torch.zeros_like(self.transform(Image.new("RGB", (8, 8)))), -1, current
        raise RunError(f"None of the {len(self)} images can be read.")

    def _read(self, index: int) -> tuple[Image.Image, int] | None:
        source, label = self.reader[index]
        name = self.reader.filename(index)
        try:
            return open_picture(source, name=name), int(label)
        except UserError as error:
            self.unreadable.add(index, str(error))
            return None


def read_photographs(
    kind: str,
    path: str,
    train_transform: v2.Transform,
    evaluation: v2.Transform,
    max_corrupt: int = 100,
) -> tuple[Photographs | None, Photographs, list[str]]:
    """Return the training part (None where it is absent), the validation part and class names.

    Args:
        kind: ``folder`` for train/CLASS/IMAGE and val/CLASS/IMAGE, nested or not, the class being
            the innermost folder; ``wds`` for tar files of WebDataset whose names, or folders, hold
            train and val; ``hfds`` for a data set of Hugging Face: parquet files in a
            folder, or its name on the hub.
        path: the folder or name.
        train_transform, evaluation: of the two parts.
        max_corrupt: unreadable images of a part to skip before ``RunError``.

    Raises:
        UserError: if there is nothing at ``path``, or the parts have different classes.
    """
    reading = reader_of(PHOTOGRAPHS[kind])
    train = reading(path, "train", None)
    classes = train.class_to_idx if train is not None else None
    validation = reading(path, "validation", classes)
    if validation is None:
        raise UserError(
            f"{path or 'The empty path'} has no images to evaluate on, such as a folder val."
        )
    names = _class_names(classes or validation.class_to_idx)
    kept = None if train is None else Photographs(train, train_transform, True, max_corrupt)
    return kept, Photographs(validation, evaluation, False, max_corrupt), names


def _class_names(class_to_index: dict[str, int]) -> list[str]:
    return [str(name) for name, _ in sorted(class_to_index.items(), key=lambda item: item[1])]


def read_folder(path: str, split: str, classes: dict[str, int] | None) -> Any:
    """Return the reader of a split of class folders; ``classes`` are those of training."""
    for name in _SPLITS[split]:
        folder = Path(path) / name
        if not (path and folder.is_dir()):
            continue
        if classes is not None:
            _check_classes(folder, classes)
        known: Any = classes  # timm annotates what it lets be None as a dict
        try:
            return create_dataset("", str(folder), search_split=False, class_map=known).reader
        except RuntimeError:
            raise UserError(f"{folder} has no images in class folders.") from None
    return None


def _check_classes(folder: Path, classes: dict[str, int]) -> None:
    # timm leaves out images of classes it does not know, which would flatter the accuracy.
    leaves = {f.name for f in folder.rglob("*") if f.is_dir() and _holds_files(f)}
    unknown = sorted(leaves - classes.keys())
    if unknown:
        raise UserError(f"{folder} has classes that the training part has not: {unknown[:5]}.")


def _holds_files(folder: Path) -> bool:
    return any(entry.is_file() for entry in folder.iterdir())


def read_shards(path: str, split: str, classes: dict[str, int] | None) -> Any:
    """Return the reader of a split of WebDataset's shards."""
    files = find_shards(path, _SPLITS[split])
    return ShardReader(files) if files else None


def read_hugging_face(path: str, split: str, classes: dict[str, int] | None) -> Any:
    """Return the reader of a split of a data set of Hugging Face."""
    try:
        import datasets
    except ImportError:
        raise UserError(
            "A data set of Hugging Face needs the package datasets: pip install datasets."
        ) from None
    available = _hub_splits(datasets, path)
    for name in _SPLITS[split]:
        if name in available:
            return create_dataset(f"hfds/{path}", None, split=name).reader
    return None


def _hub_splits(datasets: Any, path: str) -> list[str]:
    try:
        return list(datasets.get_dataset_split_names(path))
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{path} is no data set of Hugging Face: {reason}") from None
