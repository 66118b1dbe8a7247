"""Files of predictions: JSON Lines or CSV, whole or not at all."""

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from vkd.data.reader import is_number
from vkd.files import whole_file
from vkd.notes import say
from vkd.places import check_new_file, check_place

# What formulas begin with.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
SUFFIXES = (".jsonl", ".csv")
Record = dict[str, Any]


def check_target(file: Path) -> None:
    """Raise ``FieldError`` if a file of predictions is there already.

    One that holds errors is an earlier try that was not whole, and may be replaced.
    """
    if file.is_file() and _has_errors(file):
        check_place(file, "output")
    else:
        check_new_file(file, "output")


def _has_errors(file: Path) -> bool:
    try:
        with file.open(newline="", encoding="utf-8") as opened:
            if file.suffix == ".csv":
                return any(row.get("error") for row in csv.DictReader(opened))
            records = [json.loads(line) for line in opened]
            return any(isinstance(record, dict) and "error" in record for record in records)
    except (OSError, ValueError, csv.Error):
        return False


def written(records: Iterable[Record], file: Path) -> Iterator[Record]:
    """Yield ``records`` and write them to a file, which appears when all are there.

    In CSV a detection is a row of its own, with its box as ``left``, ``top``, ``right`` and
    ``bottom``; a picture without any has one row. A text that a spreadsheet would compute has an
    apostrophe in front, which is said; JSON Lines have it as it is.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    kept: list[Record] = []
    with whole_file(file) as place, place.open("w", newline="", encoding="utf-8") as opened:
        for record in records:
            if file.suffix == ".csv":
                kept += _rows(record)
            else:
                opened.write(json.dumps(record) + "\n")
            yield record
        if file.suffix == ".csv":
            # Columns are known when all records are; errors stand last.
            names = [name for row in kept for name in row if name != "error"]
            columns = [*dict.fromkeys(names), "error"]
            writer = csv.DictWriter(opened, columns, restval="")
            writer.writeheader()
            writer.writerows({name: _cell(value) for name, value in row.items()} for row in kept)
            changed = sum(_is_formula(value) for row in kept for value in row.values())
            if changed:
                say(file, [f"{changed:,} cells that a spreadsheet would compute have ' in front"])


def _is_formula(value: object) -> bool:
    """Whether a spreadsheet would take a text for a formula, which may run a command."""
    return isinstance(value, str) and value.startswith(_FORMULA) and not is_number(value)


def _cell(value: object) -> object:
    return f"'{value}" if _is_formula(value) else value


def _rows(record: Record) -> list[Record]:
    if "detections" not in record:
        return [record]
    rest = {name: value for name, value in record.items() if name != "detections"}
    rows = []
    for found in record["detections"] or [{}]:
        corners = dict(zip(("left", "top", "right", "bottom"), found.get("box", ()), strict=False))
        rows.append(rest | {name: found[name] for name in found if name != "box"} | corners)
    return rows
