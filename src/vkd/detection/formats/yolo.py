"""YOLO's format: a data.yaml of names and splits, pictures in images/, their labels in labels/."""

import os
from functools import partial
from pathlib import Path
from typing import Any

from vkd.data.class_folders import scan_folder
from vkd.data.split_names import split_of
from vkd.detection.formats.layout import hint
from vkd.detection.formats.place import SplitPlace
from vkd.detection.formats.yolo_file import DataFile, data_file
from vkd.detection.formats.yolo_labels import labelled
from vkd.detection.picture_paths import PicturePaths
from vkd.errors import FieldError, UserError
from vkd.files import read_text
from vkd.inside import inside


def yolo_places(path: Path, image_folder: str = "") -> dict[str, SplitPlace]:
    """Return where the splits lie, by train, validation and test, those that are named.

    Args:
        path: the data.yaml, or a folder with one. A folder without one needs a classes.txt; its
            splits are the folders below ``images/``, or those with an ``images/`` of their own, or
            all pictures of ``images/`` are for training.
        image_folder: the folder that the splits are named from; that of the file when empty.

    Raises:
        UserError: if there is no such file, or it names no classes.
    """
    folder = path if path.is_dir() else path.parent
    data = data_file(path)
    if data is None:
        raise FieldError(
            "data_path",
            f": {path} has no data.yaml that names the classes (names:) and the splits (train:, "
            f"val:), and no classes.txt{hint(path, 'yolo')}.",
        )
    if not data.splits:
        data.splits = _splits_by_folders(folder)
    top = Path(image_folder) if image_folder else folder
    found = {}
    for split, entries in data.splits.items():
        located = [_located(entry, data.root, top) for entry in entries]
        if split == "test" and not any(located):
            continue  # many an export names one and has none
        source = (folder / entries[0]) if located[0] is None else located[0]
        found[split] = SplitPlace(
            source,
            top,
            top,
            partial(_read, data, dict(zip(entries, located, strict=True)), top),
        )
    return found


def _splits_by_folders(folder: Path) -> dict[str, list[str]]:
    """The splits of a folder whose names alone say them."""
    found: dict[str, list[str]] = {}
    for base, inner in (("images", ""), ("", "images"), ("", "")):
        for path in sorted((folder / base).iterdir()) if (folder / base).is_dir() else ():
            split = split_of(path.name.rstrip("0123456789"))
            if split is not None and (path / inner).is_dir():
                found.setdefault(split, []).append(os.path.join(base, path.name, inner))
        if found:
            return found
    return {"train": ["images" if (folder / "images").is_dir() else "."]}


def _located(entry: str, root: str, folder: Path) -> Path | None:
    """Where an entry lies within a folder; None where it does not.

    The path may be of another machine or begin above the folder, as exports write it; then the
    longest end of it that is there counts.
    """
    name = os.path.join(root, entry.replace("\\", "/"))
    top = os.path.abspath(folder)
    parts = [part for part in name.split("/") if part not in ("", ".", "..")]
    paths = [os.path.join(top, name), os.path.join(top, entry)]
    paths += [os.path.join(top, *parts[start:]) for start in range(len(parts))]
    for path in map(os.path.normpath, paths):
        if os.path.exists(path) and (path == top or inside(top, path) is not None):
            return folder / os.path.relpath(path, top)
    return None


def _read(
    data: DataFile, located: dict[str, Path | None], root: Path
) -> tuple[dict[str, Any], list[str]]:
    """The raw content of a split, and notes."""
    pictures: dict[str, None] = {}
    notes = list(data.notes)
    for entry, path in located.items():
        if path is None:
            where = f"{entry} (path: {data.root})" if data.root else entry
            raise UserError(
                f"{data.file} names {where[-90:]}, which is not in {root}; set image_folder "
                "(--image-folder) to the folder that it lies in."
            )
        if path != Path(os.path.normpath(root / data.root / entry)):
            notes.append(f"{entry[-80:]} is taken as {path.relative_to(root)}")
        if path.is_dir():
            pictures |= dict.fromkeys(_below(path, root))
        else:
            paths = PicturePaths(root, root, path)
            pictures |= dict.fromkeys(paths.find(_lines(path, root)))
            notes += paths.notes
    if not pictures:
        raise UserError(f"{data.file} names {next(iter(located))[-120:]}, which has no pictures.")
    content, more = labelled(list(pictures), root, data)
    return content, notes + more


def _below(folder: Path, root: Path) -> list[str]:
    """The paths from ``root`` of all pictures below a folder."""
    base = os.path.relpath(folder, root)
    return [
        os.path.normpath(os.path.join(base, inner, name)).replace(os.sep, "/")
        for inner, names in sorted(scan_folder(folder).pictures.items())
        for name in names
    ]


def _lines(file: Path, root: Path) -> list[str]:
    """The paths that a text file lists; those that begin with ./ are named from its own folder."""
    lines = read_text(file).splitlines()
    base = os.path.relpath(file.parent, root)
    return [
        os.path.normpath(os.path.join(base, line)) if line.startswith("./") else line
        for line in map(str.strip, lines)
        if line
    ]
