"""Tables of paths and labels: CSV, TSV or Parquet; and lists of paths alone, a line each."""

import csv
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vkd.data.columns import (
    IMAGE_COLUMNS,
    LABEL_COLUMNS,
    SPLIT_COLUMNS,
    chosen_column,
    usual,
)
from vkd.data.reader import UNLABELLED, Labels, listed, sorted_names
from vkd.data.sources import Opened, PhotographSource, open_splits
from vkd.data.split_names import split_of, splits_among
from vkd.errors import FieldError, UserError
from vkd.inside import inside

TABLES = (".csv", ".tsv", ".parquet")
LIST = ".txt"
_MOST_ROWS = 50_000_000


@dataclass
class Table:
    """A table of texts.

    Attributes:
        file: where it is.
        columns: their names.
        rows: (line, values); the line as an editor counts, or the row of a Parquet file, from 1.
    """

    file: Path
    columns: list[str]
    rows: list[tuple[int, list[str]]]


class TableReader:
    """Pictures that rows of a table name, with their labels; a ``PictureReader``.

    Args:
        table: with the rows of one split.
        source: which columns, and the folder that paths begin at.

    Raises:
        UnlabelledError: if there is no column of labels.
        UserError: for missing files, paths that lead outside of the folder, and empty labels.
    """

    def __init__(self, table: Table, source: PhotographSource) -> None:
        self.source = str(table.file)
        self.root = Path(source.image_folder) if source.image_folder else table.file.parent
        columns = table.columns
        image = chosen_column(
            "image_column", source.image_column, usual(columns, IMAGE_COLUMNS), columns, table.file
        )
        if not table.rows:
            raise UserError(f"{table.file} has no rows.")
        names = _labels_in(table, source) if source.labelled else [UNLABELLED[0]] * len(table.rows)
        self._paths = _existing(self.root, table, columns.index(image))
        self.classes = sorted_names(names)
        number = {name: index for index, name in enumerate(self.classes)}
        self.labels: Labels = np.array([number[name] for name in names], dtype=np.int64)
        twice = len(self._paths) - len(set(self._paths))
        self.notes = [f"{twice:,} pictures are listed more than once"] if twice else []

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> tuple[Path, int]:
        return self.root / self._paths[index], int(self.labels[index])

    def filename(self, index: int) -> str:
        """Return a picture's path."""
        return str(self.root / self._paths[index])

    def sources(self) -> list[tuple[str, Path]]:
        """Return the picture files, with names relative to the folder that paths begin at."""
        return [(path, self.root / path) for path in self._paths]


def _labels_in(table: Table, source: PhotographSource) -> list[str]:
    """The label of each row."""
    columns = table.columns
    label = chosen_column(
        "label_column", source.label_column, usual(columns, LABEL_COLUMNS), columns, table.file
    )
    place = columns.index(label)
    for line, values in table.rows:
        if not values[place]:
            raise UserError(f"{table.file}, line {line}: the label ({label}) is empty.")
    return [values[place] for _, values in table.rows]


def _existing(root: Path, table: Table, place: int) -> list[str]:
    """The paths of the rows below ``root``, which must be there."""
    listing: dict[str, frozenset[str]] = {}
    paths, missing = [], []
    for line, values in table.rows:
        path = _inside(root, values[place], f"{table.file}, line {line}")
        folder, name = os.path.split(path)
        if folder not in listing:
            listing[folder] = _names_in(root / folder)
        if name not in listing[folder]:
            missing.append((line, values[place]))
        paths.append(path)
    if missing:
        line, path = missing[0]
        raise UserError(
            f"{table.file} names {len(missing):,} of {len(paths):,} pictures that are not in "
            f"{root}, the first {path[:80]} in line {line}; set image_folder (--image-folder) "
            "where they lie elsewhere."
        )
    return paths


def _names_in(folder: Path) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder))
    except OSError:
        return frozenset()


def _inside(root: Path, path: str, where: str) -> str:
    """A path as the table has it, relative to ``root``."""
    if not path or "\0" in path:
        raise UserError(f"{where}: the picture's path is {'damaged' if path else 'empty'}.")
    found = inside(root, path)
    if found is None:
        raise UserError(
            f"{where}: {path[:100]} is not inside {root}; set image_folder (--image-folder) to a "
            "folder that holds all pictures."
        )
    return found


def read_table(source: PhotographSource) -> Opened:
    """Open the splits of a table: by its column, by its files, or none, so that all is training.

    Raises:
        UserError: if there is no table, or what it says cannot be read.
    """
    if source.image_folder and not Path(source.image_folder).is_dir():
        raise FieldError("image_folder", f"{source.image_folder} is no folder.")
    tables = _tables(Path(source.path))
    names = splits_among(tables, source.path)
    opened = open_splits(names, lambda name, train: TableReader(tables[name], source))
    opened.notes += _shared(opened, source.path)
    return opened


def _shared(opened: Opened, path: str) -> list[str]:
    """Notes on pictures that are in two splits, which flatters what is measured."""
    files = {split: {file for _, file in r.sources()} for split, r in opened.readers.items()}
    pairs = [("train", "validation"), ("train", "test"), ("validation", "test")]
    notes = []
    for one, other in pairs:
        both = files.get(one, set()) & files.get(other, set())
        if both:
            notes.append(f"{len(both):,} pictures are in {one} and {other}, the first {min(both)}")
    return notes


def _tables(path: Path) -> dict[str, Table]:
    """The tables by the name of their split."""
    if path.is_dir():
        files = [file for file in sorted(path.iterdir()) if file.suffix.lower() in TABLES]
        named = [file for file in files if split_of(file.stem)]
        if not named:
            raise UserError(
                f"{path} has no table named after a split, such as train.csv; found "
                f"{listed(file.name for file in files) if files else 'no tables'}; name one file."
            )
        splits_among([file.stem for file in named], path)
        stems = [split_of(file.stem) for file in named]
        if len(set(stems)) < len(stems):
            raise UserError(
                f"{path} has several tables for a split: {listed(file.name for file in named)}; "
                "keep one of each."
            )
        return {file.stem: read_rows(file) for file in named}
    if not path.is_file() or path.suffix.lower() not in (*TABLES, LIST):
        found = f"{path} is no table" if path.exists() else f"{path} is not there"
        raise UserError(
            f"{found}; a table is a file {listed(TABLES)} or a folder of these, or a list {LIST} "
            "of paths."
        )
    table = read_rows(path)
    columns = usual(table.columns, SPLIT_COLUMNS)
    if len(columns) > 1:
        raise UserError(f"{path} has several columns of splits: {listed(columns)}; keep one.")
    return _by_split(table, columns[0]) if columns else {"train": table}


def _by_split(table: Table, column: str) -> dict[str, Table]:
    place = table.columns.index(column)
    parts: dict[str, Table] = {}
    for line, values in table.rows:
        name = values[place].lower()
        if split_of(name) is None:
            raise UserError(
                f"{table.file}, line {line}: {column} is {values[place][:40]!r}; splits are train, "
                "val and test, or another usual name of these."
            )
        parts.setdefault(name, Table(table.file, table.columns, [])).rows.append((line, values))
    return parts


def read_rows(file: Path) -> Table:
    """Read a table whole.

    Raises:
        UserError: if it cannot be read, naming the line.
    """
    if file.exists() and not file.is_file():  # a pipe would wait for ever
        raise UserError(f"{file} is no file but {'a folder' if file.is_dir() else 'a pipe'}.")
    if file.suffix.lower() == ".parquet":
        return _read_parquet(file)
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            return _read_list(file, opened) if is_list(file) else _read_csv(file, opened)
    except UnicodeDecodeError as error:
        raise UserError(
            f"{file} is not encoded as UTF-8{_line_of(file)} ({error.reason}); save it as UTF-8."
        ) from None
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}.") from None


def _line_of(file: Path) -> str:
    for number, line in enumerate(file.read_bytes().split(b"\n"), 1):
        try:
            line.decode()
        except UnicodeDecodeError:
            return f" in line {number}"
    return ""


def is_list(file: Path) -> bool:
    """Return whether a file lists paths alone, one a line, without a line of columns."""
    return file.suffix.lower() == LIST


def _read_list(file: Path, opened: Iterable[str]) -> Table:
    lines = ((number, line.strip()) for number, line in enumerate(opened, 1))
    return Table(file, [IMAGE_COLUMNS[0]], [(number, [line]) for number, line in lines if line])


def _read_csv(file: Path, opened: Iterable[str]) -> Table:
    lines = iter(opened)
    first = next(lines, "")
    # Spreadsheets of many countries write semicolons.
    usual_mark = "\t" if file.suffix.lower() == ".tsv" else ","
    mark = usual_mark if usual_mark in first else max(",;\t", key=first.count)
    reader = csv.reader(_chained(first, lines), delimiter=mark, strict=True)
    rows = []
    try:
        columns = [name.strip() for name in next(reader, [])]
        _check_columns(file, columns)
        for values in reader:
            if not any(value.strip() for value in values):
                continue
            if len(values) != len(columns):
                raise UserError(
                    f"{file}, line {reader.line_num}: {len(values)} values for {len(columns)} "
                    f"columns ({listed(columns)})."
                )
            rows.append((reader.line_num, [value.strip() for value in values]))
    except csv.Error as error:
        raise UserError(f"{file}, line {reader.line_num}: {error}.") from None
    return Table(file, columns, rows)


def _chained(first: str, lines: Iterator[str]) -> Iterator[str]:
    yield first
    yield from lines


def _check_columns(file: Path, columns: list[str]) -> None:
    if not any(columns):
        raise UserError(f"{file} is empty; its first line must name the columns.")
    if len(set(columns)) < len(columns):
        raise UserError(f"{file} has columns of the same name: {listed(columns, 12)}.")


def _read_parquet(file: Path) -> Table:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise UserError(
            "A Parquet table needs the package pyarrow: pip install 'vkd[hugging-face]'."
        ) from None
    try:
        opened = parquet.ParquetFile(file)
        count = opened.metadata.num_rows
        # Equal rows are packed to nothing.
        if count > _MOST_ROWS:
            raise UserError(
                f"{file} has {count:,} rows, more than the {_MOST_ROWS:,} that are read."
            )
        found = opened.read()
    except (ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{file} is no Parquet file that can be read: {reason}.") from None
    columns = list(found.column_names)
    _check_columns(file, columns)
    texts = [
        ["" if value is None else _text(value) for value in found.column(i).to_pylist()]
        for i in range(len(columns))
    ]
    rows = [(i + 1, list(values)) for i, values in enumerate(zip(*texts, strict=True))]
    return Table(file, columns, rows)


def _text(value: object) -> str:
    is_whole = isinstance(value, float) and value.is_integer()
    return str(int(value) if is_whole else value).strip()  # type: ignore[call-overload]
