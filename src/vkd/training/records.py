"""The records that a run keeps as lines of JSON, read and checked."""

import json
from pathlib import Path
from typing import Any

from vkd.errors import UserError
from vkd.files import read_text
from vkd.json_values import finite, whole
from vkd.notes import say

# The file of what went wrong and was mended while training, and what a run says of itself.
NOTES = "notes.txt"


def read_notes(folder: Path) -> list[str]:
    """Return the lines of a run's notes; none where it has no such file."""
    file = folder / NOTES
    return read_text(file).splitlines() if file.is_file() else []


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Return the epochs of a run's ``metrics.jsonl``, oldest first.

    Raises:
        UserError: if the folder holds no run.
    """
    file = folder / "metrics.jsonl"
    if not file.is_file():
        raise UserError(f"{folder} is not a run folder: it has no metrics.jsonl.")
    return read_records(file, "epoch", "seconds")


def read_records(file: Path, key: str, *numbers: str) -> list[dict[str, Any]]:
    """Return the records of a file with one JSON object a line, in the order of their keys.

    Half a last line is left out, which a killed process may leave. Of records with the same key
    the last is taken, and it is said.

    Args:
        file: whose records may have dicts of numbers: ``train``, ``validation``,
            ``explained``.
        key: the number that tells records apart: ``epoch``, ``update``.
        numbers: what else each record must have.

    Raises:
        UserError: if the file is damaged; the message names the line.
    """
    lines = read_text(file).split("\n")
    records: dict[float, dict[str, Any]] = {}
    twice = 0
    for index, line in enumerate(lines):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            if index == len(lines) - 1:  # nothing, or what a killed process left
                break
            raise UserError(f"{file}, line {index + 1}: it is damaged, and no JSON.") from None
        fault = _fault(record, (key, *numbers))
        if fault:
            raise UserError(f"{file}, line {index + 1}: {fault}.")
        twice += record[key] in records
        records[record[key]] = record
    if twice:
        say(file, [f"lines of {key}s that stand again further down and are left out: {twice}"])
    return [records[number] for number in sorted(records)]


def _fault(record: Any, numbers: tuple[str, ...]) -> str:
    if not isinstance(record, dict):
        return "it is no JSON object"
    for name in numbers:
        try:
            finite(record.get(name), 0) if name == "seconds" else whole(record.get(name))
        except ValueError as error:
            return f"{name} is wrong, {error}"
    for part in ("train", "validation", "terms", "explained"):
        values = record.get(part, {})
        if not isinstance(values, dict) or not all(map(_is_number, values.values())):
            return f"{part} must be numbers by name"
    return ""


def _is_number(value: Any) -> bool:
    # What diverged is recorded, too; only whole numbers can be too large for a float.
    return type(value) is float or (type(value) is int and abs(value) < 1e300)
