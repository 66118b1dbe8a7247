"""Values of recipes, read by the type of their field, and the lines that they stand in."""

import math
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from reprlib import Repr
from typing import Any, Literal, get_args, get_origin

import yaml

from vkd.errors import FieldError, UserError, nearest

_TRUTH = {"true": True, "yes": True, "on": True, "1": True,
          "false": False, "no": False, "off": False, "0": False}  # fmt: skip
_NULL = "tag:yaml.org,2002:null"
# Of values without a tag of their own, and the usual ones.
_TAGS = {
    f"tag:yaml.org,2002:{name}"
    for name in ("null", "str", "bool", "int", "float", "timestamp", "value", "seq", "map")
}
_LARGEST_FILE = 1_000_000
# What torch, which all whole numbers and most others reach, can hold.
_LARGEST_WHOLE, _LARGEST = 2**63 - 1, 3.4028234663852886e38
_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = 80


class RecipeFields(dict[str, Any]):
    """The fields of a recipe, and where they stand.

    Args:
        values: the fields.
        source: the file that they are from; empty for Python's, and for recipes of the package.
        lines: the line of each field, where it is known.
        changed: fields that arguments or flags have set since.
    """

    def __init__(
        self,
        values: Mapping[str, Any],
        source: str = "",
        lines: Mapping[str, int] | None = None,
        changed: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(values)
        self.source, self.lines, self.changed = source, dict(lines or {}), changed

    def __or__(self, changes: Mapping[str, Any]) -> "RecipeFields":  # type: ignore[override]
        """Return the fields with ``changes``, which stand in no file."""
        changed = self.changed | set(changes)
        return RecipeFields({**self, **changes}, self.source, self.lines, changed)

    def with_values(
        self, values: Mapping[str, Any], former: Mapping[str, str] | None = None
    ) -> "RecipeFields":
        """Return other ``values`` in the same places; ``former`` are names that have new ones."""
        lines = {name: self.lines[old] for old, name in (former or {}).items() if old in self.lines}
        return RecipeFields(values, self.source, lines | self.lines, self.changed)

    def place_of(self, field: str) -> str:
        """Return the file and line of a field; empty for one that stands in no file."""
        if not self.source or field in self.changed or field not in self:
            return ""
        line = self.lines.get(field)
        return self.source if line is None else f"{self.source}, line {line}"

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Give each ``FieldError`` about a field that stands in a file this place."""
        try:
            yield
        except FieldError as error:
            place = "" if error.place else self.place_of(error.field)
            if not place:
                raise
            raise FieldError(error.field, error.text, place) from error


def typed(value: Any, kind: Any) -> Any:
    """Return a value as a field of type ``kind`` takes it; nothing is empty text.

    Raises:
        ValueError: with the rest of a sentence that begins with the field's name.
    """
    if get_origin(kind) is dict:
        if isinstance(value, dict):
            return {key: _part(part, get_args(kind)[1]) for key, part in value.items()}
        raise ValueError(f"must be a mapping, found {_shown(value)}.")
    if get_origin(kind) is list:
        if isinstance(value, list):
            return [typed(part, get_args(kind)[0]) for part in value]
        raise ValueError(f"must be a list, found {_shown(value)}.")
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
    if kind is str:
        return _text(value)
    return "" if value is None else value


def _text(value: Any) -> str:
    found = "" if value is None else str(value)
    if "\0" in found:  # which no name of a file or network may hold
        raise ValueError(f"must be text without zero characters, found {_shown(value)}.")
    return found


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
            found: int | float = int(value)
        else:
            found = float(value)
        if not math.isfinite(found) or (kind is int and found != int(found)):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"must be {expected}, found {_shown(value)}.") from None
    largest = _LARGEST_WHOLE if kind is int else _LARGEST
    if abs(found) > largest:
        raise ValueError(f"must be at most {largest:g} in size, found {_shown(value)}.")
    return int(found) if kind is int else float(found)


def _part(value: Any, kind: Any) -> Any:
    """A value of a mapping, whose kind may be open."""
    return _number_of(value) if kind is Any else typed(value, kind)


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


def read_lines(path: Path) -> RecipeFields:
    """Return the fields of a YAML file, single values as they are written, and their lines.

    Raises:
        UserError: if it is no YAML with a mapping of names to values, or one stands twice.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # a pipe would wait for ever
            kind = "a folder" if stat.S_ISDIR(found.st_mode) else "no file"
            raise UserError(f"The recipe {path} is {kind}.")
        if found.st_size > _LARGEST_FILE:
            raise UserError(f"{path} is too large for a recipe.")
        loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
        root = loader.get_single_node()
        if root is None:
            raise UserError(f"{path} is empty; a recipe must have a field task.")
        if not isinstance(root, yaml.MappingNode):
            raise UserError(f"{path} is no recipe, which has lines such as task: classification.")
        return _fields(loader, root, path)
    except UnicodeDecodeError:
        raise UserError(f"{path} is not valid YAML: it is no text in UTF-8.") from None
    except (yaml.YAMLError, RecursionError, ValueError, TypeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is not valid YAML{_reason(error)}.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None


def _reason(error: Exception) -> str:
    """The line and what is wrong in it."""
    if isinstance(error, RecursionError):
        return ": it is nested too deep"
    mark = getattr(error, "problem_mark", None)  # yaml's errors have it where they know the line
    text = getattr(error, "problem", None) or str(error) or type(error).__name__
    place = f" in line {mark.line + 1}" if mark is not None else ""
    return f"{place}: {' '.join(text.split())[:120].rstrip('.')}"


def _refuse_repeats(node: yaml.Node, path: Path) -> None:
    """Of two equal keys YAML would take the last."""
    seen: set[str] = set()
    for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
        name = str(key.value)
        if name in seen:
            line = key.start_mark.line + 1
            raise UserError(f"{path}, line {line}: {name[:60]} stands twice in one mapping.")
        seen.add(name)


def _fields(loader: yaml.SafeLoader, root: yaml.MappingNode, path: Path) -> RecipeFields:
    values: dict[str, Any] = {}
    lines: dict[str, int] = {}
    for key, node in root.value:
        line = key.start_mark.line + 1
        if key.tag != "tag:yaml.org,2002:str":
            name = f" {key.value[:60]}" if isinstance(key, yaml.ScalarNode) else " none"
            raise UserError(f"{path}, line {line}: a field's name must be a word, found{name}.")
        if key.value in lines:
            raise UserError(
                f"{path}, line {line}: {key.value[:60]} stands twice, first in line "
                f"{lines[key.value]}."
            )
        lines[key.value] = line
        if node.tag not in _TAGS:
            raise UserError(
                f"{path}, line {line}: {key.value[:60]} has the tag {node.tag[:60]}; expected a "
                "plain value."
            )
        is_scalar = isinstance(node, yaml.ScalarNode)
        if is_scalar:
            values[key.value] = None if node.tag == _NULL else node.value
        else:
            _refuse_repeats(node, path)
            values[key.value] = loader.construct_object(node, deep=True)
    return RecipeFields(values, str(path), lines)
