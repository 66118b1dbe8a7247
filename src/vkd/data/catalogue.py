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
        fields: of a recipe, which it reads beside those that all of its kind do.
    """

    reader: str | Callable[..., Any]
    needs_path: bool = True
    fields: frozenset[str] = frozenset()


# Read into memory whole: reader(path) returns training, validation and test (images (N, C, H, W)
# in 0..1, labels (N,)), and the names of the classes.
SMALL: dict[str, DatasetEntry] = {
    "digits": DatasetEntry("vkd.data.digits:read", needs_path=False),
    "fashion-mnist": DatasetEntry("vkd.data.fashion_mnist:read"),
}
# Numbers of classes that no data set has, and that would take a network no machine holds.
MOST_CLASSES = 100_000
COLUMNS = frozenset({"image_column", "label_column"})
# Read one by one: reader(source), a ``vkd.data.sources.PhotographSource``, returns the splits as
# ``vkd.data.sources.Opened``.
PHOTOGRAPHS: dict[str, DatasetEntry] = {
    "folder": DatasetEntry("vkd.data.class_folders:read_folder"),
    "wds": DatasetEntry("vkd.data.shards:read_shards"),
    "hfds": DatasetEntry("vkd.data.hugging_face:read_hugging_face", fields=COLUMNS),
    "cifar100": DatasetEntry("vkd.data.cifar100:read_cifar100"),
    "table": DatasetEntry("vkd.data.table:read_table", fields=COLUMNS | {"image_folder"}),
}
# What all photographs read, and what only some of them do.
SOURCE_FIELDS = frozenset({"validation_fraction", "max_corrupt"})
OPTIONAL_FIELDS = frozenset().union(*(entry.fields for entry in PHOTOGRAPHS.values()))


def unread_fields(dataset: str) -> frozenset[str]:
    """Return the fields of where photographs come from that a data set does not read."""
    every = SOURCE_FIELDS | OPTIONAL_FIELDS
    return every - SOURCE_FIELDS - PHOTOGRAPHS[dataset].fields if dataset in PHOTOGRAPHS else every


def reader_of(entry: DatasetEntry) -> Callable[..., Any]:
    """Return the function that reads a data set."""
    return resolve_name(entry.reader) if isinstance(entry.reader, str) else entry.reader
