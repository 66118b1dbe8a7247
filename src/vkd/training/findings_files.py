"""The findings of a task in the run folder: JSON, and PNG pictures beside it."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vkd.data.pictures import open_small
from vkd.errors import UserError
from vkd.files import read_text, whole_folder, write_whole
from vkd.inside import inside
from vkd.json_values import as_damaged, entries, finite, whole
from vkd.picture_files import save_png
from vkd.training.findings import (
    Absent,
    Finding,
    Lines,
    Matrix,
    Picture,
    PictureRows,
    Pictures,
    Table,
)

_FOLDER = "findings"
_FILE = "findings.json"
# Of a picture, so that a page stays small whoever wrote the run folder.
_MOST_PIXELS = 1 << 20


def write_findings(folder: Path, findings: Sequence[Finding]) -> None:
    """Write findings into a run folder, in place of earlier ones, never half of them."""
    with whole_folder(folder / _FOLDER) as place:
        written = _Written(place)
        records = [{"kind": type(found).__name__} | written.record(found) for found in findings]
        write_whole(place / _FILE, json.dumps(records) + "\n")


class _Written:
    """Puts the pictures of findings into numbered files, and their names into the records."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0

    def record(self, found: Finding) -> dict[str, Any]:
        if isinstance(found, Pictures):
            return _texts(found) | {"pictures": [self._named(one) for one in found.pictures]}
        if isinstance(found, PictureRows):
            rows = [[self._named(one) for one in row] for row in found.rows]
            return _texts(found) | {"first": found.first, "others": found.others, "rows": rows}
        return asdict(found)

    def _named(self, picture: Picture) -> dict[str, str]:
        name = f"{self.count:04d}.png"
        self.count += 1
        save_png(picture.image, self.folder / name)
        return {"file": name, "caption": picture.caption}


def _texts(found: Finding) -> dict[str, str]:
    return {"title": found.title, "text": found.text}


def read_findings(folder: Path) -> list[Finding] | None:
    """Return the findings of a run folder; None where it has none.

    Raises:
        UserError: if they are damaged.
    """
    file = folder / _FOLDER / _FILE
    if not file.is_file():
        return None
    with as_damaged(file):
        records = entries(json.loads(read_text(file)), list)
        return [_finding(record, file.parent) for record in records]


def _finding(record: dict[str, Any], folder: Path) -> Finding:
    texts = {"title": str(record["title"]), "text": str(record["text"])}
    match record["kind"]:
        case "Absent":
            return Absent(**texts)
        case "Table":
            rows = [[str(cell) for cell in row] for row in record["rows"]]
            header = [str(cell) for cell in record["header"]]
            if {len(header)} != {len(header), *map(len, rows)}:
                raise ValueError("a row of a table has another number of cells than its header")
            return Table(**texts, header=header, rows=rows)
        case "Matrix":
            counts = [[whole(count) for count in row] for row in record["counts"]]
            names = [str(name) for name in record["names"]]
            if {len(names)} != {len(counts), *map(len, counts)}:
                raise ValueError("a matrix has as many rows and columns as names")
            axes = {"row": str(record["row"]), "column": str(record["column"])}
            return Matrix(**texts, **axes, names=names, counts=counts)
        case "Lines":
            series = {str(name): _points(*line) for name, line in record["series"].items()}
            return Lines(**texts, x=str(record["x"]), y=str(record["y"]), series=series)
        case "Pictures":
            return Pictures(**texts, pictures=[_picture(one, folder) for one in record["pictures"]])
        case "PictureRows":
            pictures = [[_picture(one, folder) for one in row] for row in record["rows"]]
            if not all(pictures):
                raise ValueError("a row of pictures is empty")
            first, others = str(record["first"]), str(record["others"])
            return PictureRows(**texts, first=first, others=others, rows=pictures)
        case kind:
            raise ValueError(f"unknown kind {kind!r}")


def _points(x: list[Any], y: list[Any]) -> tuple[list[float], list[float]]:
    if len(x) != len(y):
        raise ValueError("a line has as many x as y")
    return [finite(value) for value in x], [finite(value) for value in y]


def _picture(record: dict[str, Any], folder: Path) -> Picture:
    name = inside(folder, str(record["file"]), through_links=False)
    if name is None:
        raise ValueError(f"it names {str(record['file'])[:60]}, which is outside of {folder.name}")
    try:
        image = open_small(folder / name, _MOST_PIXELS, Path(name).name)
    except UserError as error:
        raise ValueError(str(error)) from None
    return Picture(image, str(record["caption"]))
