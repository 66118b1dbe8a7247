"""The data.yaml of YOLO's format, or the list of names that stands for it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from vkd.data.split_names import splits_among
from vkd.errors import UserError
from vkd.files import read_text
from vkd.json_values import shown

_USUAL = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
# What label tools write the names of classes to, a line each.
_NAMES = ("classes.txt", "labels/classes.txt", "obj.names", "predefined_classes.txt")
_NOTHING = ("", "~", "null", "Null", "NULL")
_LARGEST_FILE = 1_000_000


@dataclass
class DataFile:
    """What a data.yaml says, or what stands for it.

    Attributes:
        file: the file.
        names: of the classes, by number.
        splits: the entries of each split: folders, or text files of paths.
        root: the folder that entries are named from, as it is written.
        keypoints: numbers after each object's box, which are left out.
        notes: what was guessed.
    """

    file: Path
    names: dict[int, str]
    splits: dict[str, list[str]] = field(default_factory=dict)
    root: str = ""
    keypoints: int = 0
    notes: list[str] = field(default_factory=list)


class _Text(yaml.BaseLoader):
    """Reads every value as text, so that a class called ``no`` keeps its name."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                text = f"{str(key.value)[:40]} stands twice"
                raise yaml.constructor.ConstructorError(None, None, text, key.start_mark)
            seen.add(key.value if isinstance(key.value, str) else "")
        return super().construct_mapping(node, deep=deep)


def data_file(path: Path) -> DataFile | None:
    """Return what a data.yaml says, or that of a folder; None if it has none and no classes.txt.

    Raises:
        UserError: if several could be meant, or it names no classes.
    """
    if not path.is_dir():
        return _described(path, _content(path))
    files = [path / name for name in _USUAL if (path / name).is_file()]
    if files:
        return _described(files[0], _content(files[0]))
    described = data_files(path)
    if len(described) > 1:
        names = " and ".join(file.name for file in described[:3])
        raise UserError(f"{path} has {names}; name one of them as data_path (--data-path).")
    if described:
        return _described(described[0], _content(described[0]))
    for name in _NAMES:
        if (path / name).is_file():
            return DataFile(path / name, dict(enumerate(_lines(path / name))))
    return None


def data_files(folder: Path) -> list[Path]:
    """Return the YAML files of a folder that name classes."""
    found = []
    for file in sorted((*folder.glob("*.yaml"), *folder.glob("*.yml"))):
        try:
            content = _content(file)
        except UserError:
            continue
        if "names" in content or "nc" in content:
            found.append(file)
    return found


def _content(file: Path) -> dict[str, Any]:
    try:
        text = read_text(file)
        if len(text) > _LARGEST_FILE:
            raise UserError(f"{file} is too large for a file of names and splits.")
        content = yaml.load(text, _Text)  # noqa: S506 - a loader of texts alone
    except (yaml.YAMLError, RecursionError) as error:
        mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
        line = f", line {mark.line + 1}," if mark else ""
        problem = error.problem if isinstance(error, yaml.MarkedYAMLError) else str(error)
        raise UserError(f"{file}{line} is not valid YAML: {str(problem)[:100]}.") from None
    if not isinstance(content, dict):
        raise UserError(f"{file} has no names: of classes.")
    return content


def _described(file: Path, content: dict[str, Any]) -> DataFile:
    notes: list[str] = []
    names = _names(file, content, notes)
    splits = {}
    for split, key in splits_among(content, file).items():
        entries = content[key] if isinstance(content[key], list) else [content[key]]
        if not all(isinstance(entry, str) for entry in entries):
            raise UserError(f"{file}: {key} is {shown(content[key])}; expected paths.")
        entries = [entry for entry in entries if entry not in _NOTHING]
        if entries:
            splits[split] = entries
    if not splits:
        raise UserError(f"{file} names no split; expected train: and val: with paths.")
    root = content.get("path", "")
    if not isinstance(root, str):
        raise UserError(f"{file}: path is {shown(root)}; expected a folder.")
    root = "" if root in _NOTHING else root
    return DataFile(file, names, splits, root, _keypoints(file, content), notes)


def _names(file: Path, content: dict[str, Any], notes: list[str]) -> dict[int, str]:
    found = content.get("names")
    number = _number_of_classes(file, content)
    if found is None and number is not None:
        notes.append(f"no names: of the {number} classes; they are called by their numbers")
        return {label: str(label) for label in range(number)}
    if isinstance(found, list):
        found = {str(label): name for label, name in enumerate(found)}
    if not isinstance(found, dict) or not found:
        raise UserError(f"{file}: names is {shown(found)}; expected the names of the classes.")
    for label, name in found.items():
        if not _is_number(label) or not isinstance(name, str):
            raise UserError(
                f"{file}: names has {str(label)[:30]}: {shown(name)}; expected a number and a name."
            )
    if number is not None and number != len(found):
        raise UserError(f"{file} names {len(found)} classes, and nc is {number}; mend one of them.")
    return {int(label): name for label, name in found.items()}


def _number_of_classes(file: Path, content: dict[str, Any]) -> int | None:
    count = content.get("nc", "")
    if count in _NOTHING:
        return None
    number = int(count) if _is_number(count) else 0
    if number < 1:
        raise UserError(f"{file}: nc is {shown(count)}; expected a number from 1 to 99999.")
    return number


def _keypoints(file: Path, content: dict[str, Any]) -> int:
    """How many numbers of keypoints each object has."""
    shape = content.get("kpt_shape")
    if shape is None:
        return 0
    if not isinstance(shape, list) or len(shape) != 2 or not all(map(_is_number, shape)):
        raise UserError(f"{file}: kpt_shape is {shown(shape)}; expected two whole numbers.")
    return int(shape[0]) * int(shape[1])


def _is_number(text: Any) -> bool:
    """Whether it is a whole number of at most five digits, as a data.yaml writes it."""
    return isinstance(text, str) and text.isdecimal() and len(text) <= 5


def _lines(file: Path) -> list[str]:
    lines = read_text(file).splitlines()
    names = [line.strip() for line in lines]
    while names and not names[-1]:
        names.pop()
    if not names:
        raise UserError(f"{file} names no classes.")
    return names
