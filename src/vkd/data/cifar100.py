"""CIFAR-100: torchvision's, or its own binary files, one picture at a time."""

from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torchvision.datasets import CIFAR10, CIFAR100

from vkd.data.reader import Labels
from vkd.data.sources import Opened, PhotographSource
from vkd.errors import RunError, UserError

SIDE = 32
_RECORD = 2 + 3 * SIDE * SIDE  # a coarse and a fine label, then the planes of red, green and blue
_BINARY = {"train": "train.bin", "test": "test.bin"}


class MemoryPictures:
    """Pictures in memory as a ``PictureReader``.

    Args:
        source: where they were read from.
        images: (N, H, W, 3), of bytes.
        labels: (N,).
        classes: their names.
    """

    def __init__(
        self, source: str, images: NDArray[np.uint8], labels: Labels, classes: list[str]
    ) -> None:
        self.source, self.images, self.labels, self.classes = source, images, labels, classes
        self.notes: list[str] = []

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[BytesIO, int]:
        image = self.images[index]
        # PPM, the shortest format that Pillow reads.
        head = f"P6 {image.shape[1]} {image.shape[0]} 255\n".encode()
        return BytesIO(head + image.tobytes()), int(self.labels[index])

    def filename(self, index: int) -> str:
        """Return a picture's name for messages."""
        return f"picture {index} of {self.source}"

    def sources(self) -> list[tuple[str, Path]]:
        """Return the files that hold the pictures."""
        return [(Path(self.source).name, Path(self.source))]


def read_cifar100(source: PhotographSource) -> Opened:
    """Open CIFAR-100's splits train and test.

    Takes a folder with ``train.bin``, ``test.bin`` and ``fine_label_names.txt``, or with
    ``cifar-100-binary/`` that holds them; else what torchvision finds in the folder, whose
    checksums it checks, or downloads into it.

    Raises:
        UserError: if a file is not of this format.
        RunError: if a download fails.
    """
    folder = Path(source.path)
    if not source.path:
        raise UserError("cifar100 needs the folder that holds it or will.")
    for place in (folder, folder / "cifar-100-binary"):
        if (place / _BINARY["train"]).is_file():
            return Opened({split: _binary(place, name) for split, name in _BINARY.items()})
    return Opened({split: _published(folder, split) for split in _BINARY})


def _binary(folder: Path, name: str) -> MemoryPictures:
    file, names = folder / name, folder / "fine_label_names.txt"
    try:
        content = np.frombuffer(file.read_bytes(), dtype=np.uint8)
        classes = names.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{folder} is not CIFAR-100's binary version: {error}.") from None
    if not len(content) or len(content) % _RECORD:
        raise UserError(
            f"{file} has {len(content):,} bytes; expected a multiple of {_RECORD:,}, the labels "
            "and pixels of a picture."
        )
    records = content.reshape(-1, _RECORD)
    labels = records[:, 1].astype(np.int64)
    if labels.max() >= len(classes):
        raise UserError(f"{file} has the class {labels.max()}, and {names} {len(classes)} names.")
    pixels = records[:, 2:].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    return MemoryPictures(str(file), pixels, labels, classes)


def _published(folder: Path, split: str) -> MemoryPictures:
    found = fetched(CIFAR100, folder, split == "train")
    file = folder / CIFAR100.base_folder / split
    labels = np.asarray(found.targets, dtype=np.int64)
    return MemoryPictures(str(file), found.data, labels, found.classes)


def fetched(kind: type[CIFAR10], folder: Path, is_train: bool) -> CIFAR10:
    """Return a split of CIFAR-10 or CIFAR-100, which torchvision downloads into a folder where it
    is not there, and whose checksums it checks.

    Raises:
        RunError: if the download fails.
    """
    try:
        return kind(folder, train=is_train, download=True)
    except (OSError, RuntimeError) as error:
        name = kind.__name__.lower()
        raise RunError(f"{name} could not be fetched into {folder}: {error}.") from None
