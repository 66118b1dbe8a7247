"""What a weights file says of itself, checked when it is read."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vkd.errors import UserError, shortened

_LARGEST_SIDE = 16384
_INTERPOLATIONS = ("nearest", "nearest-exact", "bilinear", "bicubic", "box", "hamming", "lanczos")


def check_metadata(metadata: Mapping[str, str], file: Path) -> None:
    """Check the entries that are JSON, as far as they are there.

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
                f"{shortened(file, 120)}: its metadata {entry} is no JSON; expected {expected}."
            ) from None
        if not is_right(value):
            shown = shortened(metadata[entry], 50)
            raise UserError(
                f"{shortened(file, 120)}: its metadata {entry} is {shown}; expected {expected}."
            )


def check_count(names: Sequence[str], outputs: int, entry: str, file: Path) -> None:
    """Raise ``UserError`` if a file names another number of classes than its weights have."""
    if len(names) != outputs:
        raise UserError(
            f"{shortened(file, 120)}: its metadata {entry} names {len(names)} classes and its "
            f"weights have {outputs}."
        )


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
    shape, size, crop = (value.get(name) for name in ("shape", "size", "crop"))
    return (
        (shape is None or (_are_sides(shape, 3) and shape[:1] == [len(mean)]))
        and (size is None or _are_sides(size, 2))
        and (crop is None or (_are_numbers([crop]) and 0 < crop <= 1))
        and value.get("interpolation", "bicubic") in _INTERPOLATIONS
        and all(_is_side(value.get(name, 1), least=0) for name in ("short_side", "long_side"))
    )


def _is_versions(value: Any) -> bool:
    return isinstance(value, dict) and _is_names([*value, *value.values()])


def _are_sides(values: Any, count: int) -> bool:
    return isinstance(values, list) and len(values) == count and all(map(_is_side, values))


def _are_numbers(values: Any) -> bool:
    if not isinstance(values, list) or not values:
        return False
    # By a bound, as some whole numbers are too large to be asked whether they are finite.
    return all(type(value) in (int, float) and abs(value) < 1e300 for value in values)


def _is_side(value: Any, least: int = 1) -> bool:
    return type(value) is int and least <= value <= _LARGEST_SIDE


def _is_mapping(value: Any) -> bool:
    return isinstance(value, dict)


def _is_cost(value: Any) -> bool:
    return isinstance(value, dict) and all(
        type(number) in (int, float) and number >= 0 for number in value.values()
    )


def _is_options(value: Any) -> bool:
    kinds = (bool, int, float, str)
    return isinstance(value, dict) and all(
        type(part) in kinds or (isinstance(part, list) and all(type(p) in kinds for p in part))
        for part in value.values()
    )


_ENTRIES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "recipe": (_is_recipe, "the fields of a recipe, its task among them"),
    "classes": (_is_names, "a list of names"),
    "inputs": (_is_inputs, f"mean and std above 0 of each channel, sides of 1 to {_LARGEST_SIDE}, "
                           "crop and interpolation"),
    "categories": (_is_categories, "ids and as many names"),
    "options": (_is_options, "the keyword arguments of a model"),
    "cost": (_is_cost, "numbers of parameters and multiply-adds"),
    "takes": (_is_mapping, "shape and dtype by input"),
    "gives": (_is_names, "names of outputs"),
    "quantization": (_is_mapping, "how the network was quantised"),
    "versions": (_is_versions, "a version by package"),
}  # fmt: skip
