"""Data sets of Hugging Face: Parquet files in a folder, a saved data set, or a name on the hub."""

import io
from pathlib import Path
from typing import Any

import numpy as np

from vkd.data.catalogue import MOST_CLASSES
from vkd.data.columns import IMAGE_COLUMNS, LABEL_COLUMNS, chosen_column, usual
from vkd.data.reader import (
    UNLABELLED,
    Labels,
    UnlabelledError,
    empty_note,
    listed,
    sorted_names,
)
from vkd.data.sources import Opened, PhotographSource, open_splits
from vkd.data.split_names import splits_among
from vkd.errors import UserError
from vkd.inside import inside


class HuggingFaceReader:
    """A split of a data set of Hugging Face; a ``PictureReader``.

    Args:
        name: of the split.
        split: a ``datasets.Dataset``.
        source: which columns, and where the data are.

    Raises:
        UnlabelledError: if no picture has a label.
        UserError: if columns are not found, or labels are neither numbers nor texts.
    """

    def __init__(self, name: str, split: Any, source: PhotographSource) -> None:
        import datasets

        self.source = f"{source.path}, split {name}"
        self.root = Path(source.path)
        columns = list(split.column_names)
        if not len(split):
            raise UserError(f"{self.source} has no rows.")
        self._image = chosen_column(
            "image_column", source.image_column, _pictures_in(split), columns, self.source
        )
        if isinstance(split.features[self._image], datasets.Image):
            split = split.cast_column(self._image, datasets.Image(decode=False))
        self._pictures = split.select_columns([self._image])
        self.classes, self.labels = self._labelled(split, source)
        self.notes = empty_note(self.classes, self.labels)
        self._files = [Path(entry["filename"]) for entry in split.cache_files]

    def _labelled(self, split: Any, source: PhotographSource) -> tuple[list[str], Labels]:
        """The names of the classes, and the labels."""
        if not source.labelled:
            return list(UNLABELLED), np.zeros(len(split), dtype=np.int64)
        columns = list(split.column_names)
        label = chosen_column(
            "label_column", source.label_column, _labels_in(split), columns, self.source
        )
        values = split.select_columns([label]).with_format(None)[label][:]
        return self._classes(values, split.features[label], label)

    def _classes(self, values: list[Any], feature: Any, column: str) -> tuple[list[str], Labels]:
        import datasets

        if isinstance(feature, datasets.ClassLabel):
            labels = np.array([-1 if v is None else v for v in values], dtype=np.int64)
            if (labels < 0).all():
                raise UnlabelledError(f"{self.source} has no labels: all of {column} are absent.")
            if (labels < 0).any():
                row = int(np.flatnonzero(labels < 0)[0])
                raise UserError(
                    f"{self.source} has {(labels < 0).sum():,} rows without a label in {column}, "
                    f"the first is row {row}."
                )
            return list(feature.names), labels
        for row, value in enumerate(values):
            if value is None or value == "":
                raise UserError(f"{self.source}, row {row}: the label ({column}) is empty.")
            if not isinstance(value, int | str):
                raise UserError(
                    f"{self.source}, row {row}: {column} holds {str(value)[:40]}; a label is a "
                    "whole number or a text."
                )
        if all(value == -1 for value in values):
            raise UnlabelledError(f"{self.source} has no labels: all of {column} are -1.")
        texts = [str(value) for value in values]
        classes = sorted_names(texts)
        if len(classes) >= MOST_CLASSES:
            raise UserError(f"{self.source} has {len(classes):,} classes in {column}.")
        number = {name: index for index, name in enumerate(classes)}
        return classes, np.array([number[text] for text in texts], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Path | io.BytesIO, int]:
        value = self._pictures[index][self._image]
        label = int(self.labels[index])
        if isinstance(value, dict):
            content, path = value.get("bytes"), value.get("path")
        else:
            content, path = (value, None) if isinstance(value, bytes) else (None, value)
        if content is None and isinstance(path, str) and path:
            return self._file(path), label
        return io.BytesIO(content if isinstance(content, bytes) else b""), label

    def _file(self, path: str) -> Path:
        """A picture that is named, not held: only inside the data's folder."""
        found = inside(self.root, path, through_links=False) if self.root.is_dir() else None
        if found is None:
            raise UserError(f"{self.source} names {path[:80]}, which is outside of its folder.")
        return self.root.resolve() / found

    def filename(self, index: int) -> str:
        """Return the row of a picture, for messages."""
        return f"{self.source}, row {index}"

    def sources(self) -> list[tuple[str, Path]]:
        """Return the files of the folder that hold the data; of the hub, those in the cache."""
        if not self.root.is_dir():
            return [(file.name, file) for file in self._files]
        files = sorted(f for f in self.root.rglob("*") if f.is_file() and f.name[0] != ".")
        return [(file.relative_to(self.root).as_posix(), file) for file in files]


def _pictures_in(split: Any) -> list[str]:
    """Columns that may hold pictures: by their type, else by the usual names."""
    import datasets

    features = split.features
    typed = [name for name, kind in features.items() if isinstance(kind, datasets.Image)]
    if typed:
        return typed
    held = [name for name, kind in features.items() if _holds_bytes(kind)]
    return held or usual(list(features), IMAGE_COLUMNS)


def _holds_bytes(kind: Any) -> bool:
    if isinstance(kind, dict):
        return "bytes" in kind
    return getattr(kind, "dtype", "") in ("binary", "large_binary")


def _labels_in(split: Any) -> list[str]:
    """Columns that may hold labels: by the usual names and their ends, and by their type."""
    import datasets

    return [
        name
        for name, kind in split.features.items()
        if name.lower() in LABEL_COLUMNS
        or name.lower().endswith(("_label", "_labels"))
        or isinstance(kind, datasets.ClassLabel)
    ]


def read_hugging_face(source: PhotographSource) -> Opened:
    """Open the splits of a data set of Hugging Face.

    Raises:
        UserError: if the package is absent, there is no such data set, or it has no usual splits.
    """
    splits = _load(source.path)
    names = splits_among(splits, source.path)
    if not names:
        raise UserError(
            f"{source.path} has no split train, validation or test but {listed(splits)}."
        )
    return open_splits(names, lambda name, train: HuggingFaceReader(name, splits[name], source))


def _load(path: str) -> dict[str, Any]:
    try:
        import datasets
    except ImportError:
        raise UserError(
            "A data set of Hugging Face needs the package datasets: pip install "
            "'vkd[hugging-face]'."
        ) from None
    folder = Path(path)
    if folder.is_file():
        raise UserError(f"{path} is a file; name its folder, or use dataset table.")
    try:
        if (folder / "dataset_dict.json").is_file():
            found = dict(datasets.load_from_disk(path))
            files = [entry["filename"] for split in found.values() for entry in split.cache_files]
            _require_inside(folder, files)
            return found
        if folder.is_dir():
            # A README.md there may name any file, and addresses.
            named = datasets.load_dataset_builder(path).config.data_files or {}
            _require_inside(folder, [file for files in named.values() for file in files])
        return dict(datasets.load_dataset(path))
    except UserError:
        raise
    # Whatever the package meets in a damaged file or on the way to the hub.
    except Exception as error:
        reason = " ".join(str(error).split())[:150] or type(error).__name__
        raise UserError(f"{path} is no data set of Hugging Face: {reason}.") from None


def _require_inside(folder: Path, files: list[str]) -> None:
    for file in files:
        if "://" in file or inside(folder, file) is None:
            raise UserError(f"{folder} names {file[-100:]} as its data, which is outside of it.")
