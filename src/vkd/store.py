"""A teacher's answers on disk: written once, then found by row; no network is needed any more.

A store is a folder with ``store.json``, which tells what it holds, and numbered safetensors files
of so many rows each. The files are mapped into memory, so that only rows that are asked for are
read. A file appears whole or not at all, so what was interrupted can go on.
"""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vkd.teacher import TeacherOutput

_DESCRIPTION = "store.json"


@dataclass(frozen=True)
class StoreDescription:
    """What a store holds.

    Attributes:
        images: of the data set that the teacher saw.
        views: augmented views of each; row r is view r // images of image r % images.
        seed: of the augmentation.
        dtype: of the numbers, float16 or float32.
        classes: names of the classes of the data.
        recipe: the settings that decide what the teacher saw and said.
        rows_per_file: answers in each file but the last.
    """

    images: int
    views: int
    seed: int
    dtype: str
    classes: list[str]
    recipe: dict[str, Any] = field(default_factory=dict)
    rows_per_file: int = 16384

    @property
    def rows(self) -> int:
        """Answers in all."""
        return self.images * self.views

    @property
    def files(self) -> int:
        """Files in all."""
        return -(-self.rows // self.rows_per_file)

    def rows_of(self, number: int) -> range:
        """Return the rows of a file."""
        first = number * self.rows_per_file
        return range(first, min(first + self.rows_per_file, self.rows))


def open_store(folder: Path, description: StoreDescription) -> None:
    """Make a store's folder, or check that the store in it is this one and can be completed.

    Raises:
        ValueError: if the folder holds another store, or something else.
    """
    if (folder / _DESCRIPTION).is_file():
        if describe(folder) != description:
            raise ValueError(f"{folder} holds another store; name a new folder.")
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} exists and is no store; name a new folder.")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _DESCRIPTION).write_text(json.dumps(asdict(description), indent=1) + "\n")


def describe(folder: Path) -> StoreDescription:
    """Return what a store holds.

    Raises:
        ValueError: if the folder is no store.
    """
    try:
        return StoreDescription(**json.loads((folder / _DESCRIPTION).read_text()))
    except (OSError, TypeError, ValueError):
        raise ValueError(f"{folder} is no store of a teacher's answers.") from None


def file_of(folder: Path, number: int) -> Path:
    """Return the path of one of a store's files."""
    return folder / f"rows-{number:06d}.safetensors"


def write_rows(file: Path, answers: TeacherOutput, dtype: str) -> None:
    """Write the rows of one file.

    Raises:
        ValueError: if a number is not finite in this dtype.
    """
    tensors = {
        name: part.to("cpu", getattr(torch, dtype)).contiguous()
        for name, part in answers._asdict().items()
    }
    for name, part in tensors.items():
        if not part.isfinite().all():
            raise ValueError(f"The teacher's {name} are not finite in {dtype}.")
    partial = file.with_suffix(".partial")
    save_file(tensors, partial)
    os.replace(partial, file)


class TeacherStore:
    """Answers as the teacher did that filled a store; see ``vkd.teacher.Teacher``.

    Args:
        folder: the store.

    Raises:
        ValueError: if the folder is no store, an incomplete one, or a file cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.description = folder, describe(folder)
        missing = [n for n in range(self.description.files) if not file_of(folder, n).is_file()]
        if missing:
            raise ValueError(
                f"{folder} is incomplete, {len(missing)} of {self.description.files} files are "
                "missing; the command that made it goes on where it stopped."
            )
        # All at once: mapping a file reads nothing but its header, and tells whether it is whole.
        self._parts = [_mapped(file_of(folder, n)) for n in range(self.description.files)]

    def __call__(self, images: Tensor, indices: Tensor | None = None) -> TeacherOutput:
        """Return the answers to the rows ``indices``; without, the first one's for each image."""
        if indices is None:
            indices = torch.zeros(len(images), dtype=torch.long)
        rows = indices.cpu()
        size = self.description.rows_per_file
        files, places = rows // size, rows % size
        found = [part.new_empty(len(rows), part.shape[1]) for part in self._parts[0]]
        for number in files.unique().tolist():
            chosen = files == number
            for target, part in zip(found, self._parts[number], strict=True):
                target[chosen] = part[places[chosen]]
        return TeacherOutput(*(part.to(images.device, torch.float32) for part in found))


def _mapped(file: Path) -> TeacherOutput:
    try:
        with safe_open(file, "pt") as tensors:
            return TeacherOutput(*(tensors.get_tensor(name) for name in TeacherOutput._fields))
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{file} cannot be read: {error}") from None
