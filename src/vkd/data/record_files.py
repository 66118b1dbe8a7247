"""Files of predictions: JSON Lines or CSV, whole or not at all."""

import csv
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from vkd.errors import FieldError

SUFFIXES = (".jsonl", ".csv")
Record = dict[str, Any]


def check_target(file: Path) -> None:
    """Raise ``FieldError`` if a file of predictions is there already.

    One that holds errors is an earlier try that was not whole, and may be replaced.
    """
    if file.exists() and not (file.is_file() and _has_errors(file)):
        raise FieldError("output", f": {file} exists already; name a new file.")


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
    ``bottom``; a picture without any has one row.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(file.name + ".partial")
    kept: list[Record] = []
    with partial.open("w", newline="", encoding="utf-8") as opened:
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
            writer.writerows(kept)
    os.replace(partial, file)


def _rows(record: Record) -> list[Record]:
    if "detections" not in record:
        return [record]
    rest = {name: value for name, value in record.items() if name != "detections"}
    rows = []
    for found in record["detections"] or [{}]:
        corners = dict(zip(("left", "top", "right", "bottom"), found.get("box", ()), strict=False))
        rows.append(rest | {name: found[name] for name in found if name != "box"} | corners)
    return rows
