"""What a weights file says of itself, checked when it is read."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vkd.errors import UserError

_LARGEST_SIDE = 16384


def check_metadata(metadata: Mapping[str, str], file: Path) -> None:
    """Check the entries ``recipe``, ``classes``, ``inputs`` and ``categories``, those there are.

    Raises:
        UserError: if one is no JSON, or of another kind than we write.
    """
    for entry, (is_right, expected) in _ENTRIES.items():
        if entry not in metadata:
            continue
        try:
            value = json.loads(metadata[entry])
        except (ValueError, RecursionError):
            raise UserError(
                f"{file}: its metadata {entry} is no JSON; expected {expected}."
            ) from None
        if not is_right(value):
            shown = metadata[entry][:60]
            raise UserError(f"{file}: its metadata {entry} is {shown}; expected {expected}.")


def _is_recipe(value: Any) -> bool:
    # Without fields where the file does not say; else of a task.
    return isinstance(value, dict) and (not value or isinstance(value.get("task"), str))


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _is_categories(value: Any) -> bool:
    if not isinstance(value, dict) or set(value) != {"ids", "names"}:
        return False
    ids, names = value["ids"], value["names"]
    is_whole = isinstance(ids, list) and all(type(number) is int for number in ids)
    return is_whole and _is_names(names) and len(ids) == len(names)


def _is_inputs(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    if not value:
        return True
    mean, std = value.get("mean", []), value.get("std", [])
    if not (_are_numbers(mean) and _are_numbers(std) and len(mean) == len(std)) or min(std) <= 0:
        return False
    sizes = [value[name] for name in ("shape", "size") if value.get(name) is not None]
    return all(isinstance(size, list) and all(map(_is_side, size)) for size in sizes)


def _are_numbers(values: Any) -> bool:
    if not isinstance(values, list) or not values:
        return False
    return all(type(value) in (int, float) and math.isfinite(value) for value in values)


def _is_side(value: Any) -> bool:
    return type(value) is int and 1 <= value <= _LARGEST_SIDE


_ENTRIES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "recipe": (_is_recipe, "the fields of a recipe, its task among them"),
    "classes": (_is_names, "a list of names"),
    "inputs": (_is_inputs, f"mean and std above 0 of each channel, and sides of 1 to "
                           f"{_LARGEST_SIDE}"),
    "categories": (_is_categories, "ids and as many names"),
}  # fmt: skip
