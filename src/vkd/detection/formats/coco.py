"""Where the splits of a folder in COCO's format lie, under the names that people give them."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from vkd.data.split_names import split_of, split_within
from vkd.detection.formats.place import SplitPlace
from vkd.errors import FieldError, UserError
from vkd.files import read_text


def coco_places(folder: Path, image_folder: str = "") -> dict[str, SplitPlace]:
    """Return where the splits lie, by train, validation and test, those that are there.

    Takes COCO's layout (``train2017/``, ``val2017/``, ``annotations/instances_train2017.json``),
    the same with other names of splits, with pictures below ``images/``, or with any single file
    of ``annotations/`` that has the split's name; and ``train/_annotations.coco.json``.

    Raises:
        FieldError: if two folders mean the same split.
    """
    found: dict[str, SplitPlace] = {}
    for split, name, pictures in _named(folder, bool(image_folder)):
        file = _annotations(folder, split, name, pictures)
        if file is None:
            continue
        other = found.get(split)
        if other is not None and other.file != file:
            raise FieldError(
                "data_path",
                f": {folder} has {other.file.relative_to(folder)} and {file.relative_to(folder)}, "
                f"which both mean the {split} split; rename or remove one.",
            )
        root = Path(image_folder) if image_folder else pictures
        if other is None:
            inside = root if image_folder else folder
            found[split] = SplitPlace(file, root, inside, partial(_read, file, split))
    return found


def _read(file: Path, split: str) -> tuple[Any, list[str]]:
    try:
        content = json.loads(read_text(file))
    except UserError:
        raise
    except RecursionError:
        raise UserError(f"{file} is nested too deeply to be read.") from None
    except ValueError as error:
        raise UserError(f"{file} is not valid JSON: {str(error)[:120]}.") from None
    # The annotations of many a test split are kept back.
    if split == "test" and isinstance(content, dict):
        content.setdefault("annotations", [])
    return content, []


def _named(folder: Path, is_elsewhere: bool) -> Iterator[tuple[str, str, Path]]:
    """The split, name and folder of each folder that is named like a split."""
    for base in (folder, folder / "images"):
        for path in sorted(base.iterdir()) if base.is_dir() else ():
            split = split_of(path.name.rstrip("0123456789"))
            if split is not None and path.is_dir():
                yield split, path.name, path
    for file in sorted((folder / "annotations").glob("instances_*.json")) if is_elsewhere else ():
        name = file.stem.removeprefix("instances_")
        split = split_of(name.rstrip("0123456789"))
        if split is not None:
            yield split, name, folder


def _annotations(folder: Path, split: str, name: str, pictures: Path) -> Path | None:
    files = (
        folder / "annotations" / f"instances_{name}.json",
        pictures / "_annotations.coco.json",
    )
    for file in files:
        if file.is_file():
            return file
    every = [
        file
        for file in sorted((folder / "annotations").glob("*.json"))
        if split_of(split_within(file.stem) or "") == split
    ]
    return every[0] if len(every) == 1 else None
