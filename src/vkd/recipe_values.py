"""Values of recipes, read by the type of their field, and the lines that they stand in."""

import math
from pathlib import Path
from reprlib import Repr
from typing import Any, Literal, get_args, get_origin

import yaml

from vkd.errors import UserError, nearest

_TRUTH = {"true": True, "yes": True, "on": True, "1": True,
          "false": False, "no": False, "off": False, "0": False}  # fmt: skip
_NULL = "tag:yaml.org,2002:null"
_LARGEST_FILE = 1_000_000
_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = 80


def typed(value: Any, kind: Any) -> Any:
    """Return a value as a field of type ``kind`` takes it; nothing is empty text.

    Raises:
        ValueError: with the rest of a sentence that begins with the field's name.
    """
    if get_origin(kind) is dict:
        if isinstance(value, dict):
            return {key: _number_of(part) for key, part in value.items()}
        raise ValueError(f"must be a mapping, found {_shown(value)}.")
    if isinstance(value, (list, tuple, dict, set)):
        raise ValueError(f"must be a single value, found {_shown(value)}.")
    if get_origin(kind) is Literal:
        known = [str(choice) for choice in get_args(kind)]
        if str(value) in known:
            return str(value)
        hint = nearest(str(value), known)
        raise ValueError(f"must be one of {', '.join(known)}, found {_shown(value)}{hint}")
    if kind is bool:
        return _truth(value)
    if kind in (int, float):
        return _number(value, kind)
    return "" if value is None else str(value) if kind is str else value


def _truth(value: Any) -> bool:
    found = _TRUTH.get(str(value).lower())
    if found is None:
        raise ValueError(f"must be true or false, found {_shown(value)}.")
    return found


def _number(value: Any, kind: type) -> int | float:
    expected = "a whole number" if kind is int else "a number"
    try:
        if isinstance(value, bool):
            raise ValueError
        if kind is int and isinstance(value, (int, str)) and str(value).lstrip("+-").isdigit():
            return int(value)
        found = float(value)
        if not math.isfinite(found) or (kind is int and found != int(found)):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"must be {expected}, found {_shown(value)}.") from None
    return int(found) if kind is int else found


def _number_of(value: Any) -> Any:
    """YAML takes 1e-4, without a dot, for text."""
    if isinstance(value, str):
        try:
            return float(value) if math.isfinite(float(value)) else value
        except ValueError:
            return value
    return value


def _shown(value: Any) -> str:
    # Cut before it is written out, as aliases can nest a small file without end.
    return "nothing" if value is None else _SHORT.repr(value)[:80]


def read_lines(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """Return the fields of a YAML file, single values as they are written, and their lines.

    Raises:
        UserError: if it is no YAML with a mapping of names to values, or one stands twice.
    """
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise UserError(f"{path} is too large for a recipe.")
        loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
        root = loader.get_single_node()
        if not isinstance(root, yaml.MappingNode):
            raise UserError(f"{path} must have a field task.")
        return _fields(loader, root, path)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError, TypeError) as error:
        if isinstance(error, UserError):
            raise
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{path} is not valid YAML: {reason[:120]}.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None


def _fields(
    loader: yaml.SafeLoader, root: yaml.MappingNode, path: Path
) -> tuple[dict[str, Any], dict[str, int]]:
    values: dict[str, Any] = {}
    lines: dict[str, int] = {}
    for key, node in root.value:
        line = key.start_mark.line + 1
        if key.tag != "tag:yaml.org,2002:str":
            raise UserError(f"{path}, line {line}: a field's name must be text.")
        if key.value in lines:
            raise UserError(
                f"{path}, line {line}: {key.value[:60]} stands twice, first in line "
                f"{lines[key.value]}."
            )
        lines[key.value] = line
        is_scalar = isinstance(node, yaml.ScalarNode)
        if is_scalar:
            values[key.value] = None if node.tag == _NULL else node.value
        else:
            values[key.value] = loader.construct_object(node, deep=True)
    return values, lines
