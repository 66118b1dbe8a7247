"""Where labelled pictures come from, and the opening of their splits."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from vkd.data.reader import PictureReader, UnlabelledError
from vkd.errors import UserError

ReaderT = TypeVar("ReaderT", bound=PictureReader)


class PhotographFields(Protocol):
    """The fields of a recipe that say where labelled pictures come from."""

    dataset: str
    data_path: str
    image_folder: str
    image_column: str
    label_column: str
    validation_fraction: float
    max_corrupt: int


@dataclass(frozen=True)
class PhotographSource:
    """Where labelled pictures come from and how they are read.

    Attributes:
        dataset: a name of ``vkd.data.catalogue.PHOTOGRAPHS``.
        path: the folder, file or name.
        image_folder: that the paths of a table begin at; empty for the table's.
        image_column, label_column: of a table or a data set of Hugging Face; found when empty.
        validation_fraction: share to hold out where there is no validation split.
        max_corrupt: unreadable pictures of a split to skip before ``RunError``.
        labelled: False to read pictures alone, all of the class ``vkd.data.reader.UNLABELLED``,
            whether there are labels or not.
    """

    dataset: str
    path: str
    image_folder: str = ""
    image_column: str = ""
    label_column: str = ""
    validation_fraction: float = 0.1
    max_corrupt: int = 100
    labelled: bool = True

    @classmethod
    def of(cls, config: PhotographFields) -> "PhotographSource":
        """Return what the fields of a recipe say."""
        return cls(
            config.dataset,
            config.data_path,
            config.image_folder,
            config.image_column,
            config.label_column,
            config.validation_fraction,
            config.max_corrupt,
        )


@dataclass
class Opened:
    """The splits of a source.

    Attributes:
        readers: by train, validation and test, those that are there.
        notes: about the source as a whole.
    """

    readers: dict[str, PictureReader] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def existing_folder(path: str) -> Path:
    """Return a folder.

    Raises:
        UserError: if there is none.
    """
    folder = Path(path)
    if not folder.is_dir():
        found = "is a file and no folder" if folder.exists() else "is not there"
        raise UserError(f"{path} {found}; name the folder of the data.")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise UserError(f"{path} may not be listed by this user; change its permissions.")
    return folder


def open_splits(
    names: dict[str, str], open_one: Callable[[str, ReaderT | None], ReaderT]
) -> Opened:
    """Open the splits of a source; a test split without labels is left out, and said.

    Args:
        names: that the splits have in the source.
        open_one: opens the split of a name, given the training split where there is one.
    """
    opened = Opened()
    train: ReaderT | None = None
    for split in ("train", "validation", "test"):
        if split not in names:
            continue
        try:
            reader = open_one(names[split], train)
        except UnlabelledError:
            if split != "test" or not opened.readers:
                raise
            opened.notes.append(f"left out {names[split]}, whose pictures have no classes")
            continue
        opened.readers[split] = reader
        train = reader if split == "train" else train
    return opened
