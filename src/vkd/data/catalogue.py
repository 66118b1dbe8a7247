"""The data sets of labelled images by name. A new one is a file beside this one and a line here.

Imports no torch, so that the command line can check names at once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any


@dataclass(frozen=True)
class DatasetEntry:
    """A data set before it is read.

    Attributes:
        reader: the function that reads it, or ``module:function``, imported when first used.
        needs_path: whether it is read from a folder that a recipe may name.
    """

    reader: str | Callable[..., Any]
    needs_path: bool = True


# Read into memory whole: reader(path) returns training, validation and test (images (N, C, H, W)
# in 0..1, labels (N,)), and the names of the classes.
SMALL: dict[str, DatasetEntry] = {
    "digits": DatasetEntry("vkd.data.digits:read", needs_path=False),
    "fashion-mnist": DatasetEntry("vkd.data.fashion_mnist:read"),
}
# Read one by one: reader(path, split, classes) returns a reader with random access, see
# ``vkd.data.photographs.Photographs``, or None where there is no such split.
PHOTOGRAPHS: dict[str, DatasetEntry] = {
    "folder": DatasetEntry("vkd.data.photographs:read_folder"),
    "wds": DatasetEntry("vkd.data.photographs:read_shards"),
    "hfds": DatasetEntry("vkd.data.photographs:read_hugging_face"),
}


def reader_of(entry: DatasetEntry) -> Callable[..., Any]:
    """Return the function that reads a data set."""
    return resolve_name(entry.reader) if isinstance(entry.reader, str) else entry.reader
