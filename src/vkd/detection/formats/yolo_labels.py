"""The labels of YOLO's format as raw content in COCO's: fractions of a picture become pixels."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vkd.data.pictures import picture_size
from vkd.detection.boxes import polygon_area
from vkd.detection.formats.yolo_file import DataFile
from vkd.errors import UserError
from vkd.files import read_text

# Rounding outwards is usual; more than this is another unit.
_SLACK = 0.01
_NO_LABELS = {"classes.txt", "notes.txt", "README.txt"}


@dataclass
class _Found:
    """What the label files hold, and what is wrong with them."""

    annotations: list[dict[str, Any]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    repeated: int = 0


def labelled(pictures: list[str], root: Path, data: DataFile) -> tuple[dict[str, Any], list[str]]:
    """Return raw content in COCO's format of pictures and their label files, and notes.

    An object is a line: its class and centre x, centre y, width, height of its box, or the corners
    of its outline x, y, x, y, ..., all as fractions of the picture. A picture without a label file
    has no objects.

    Args:
        pictures: paths from ``root``.
        root: their folder.
        data: the names of classes.

    Raises:
        UserError: if lines are none, with their number and the first.
    """
    files = label_files(pictures, root)
    notes, found = [], _Found()
    images = []
    for picture in pictures:
        size = _size(root / picture)
        images.append({"id": picture, "file_name": picture, **size})
        if files[picture] is not None:
            _read(root, picture, files[picture], size, data, found)
    if found.wrong:
        raise UserError(
            f"{root}: {len(found.wrong):,} lines of label files are none, first {found.wrong[0]}."
        )
    without = [picture for picture in pictures if files[picture] is None]
    if without:
        notes.append(
            f"{len(without):,} of {len(pictures):,} pictures have no label file and count as "
            f"without objects, the first {without[0][-80:]}"
        )
    notes += _orphans(files, root)
    if found.repeated:
        notes.append(f"{found.repeated:,} lines of label files repeat and were left out")
    if data.keypoints:
        notes.append("keypoints are left out")
    categories = [{"id": label, "name": name} for label, name in sorted(data.names.items())]
    return {"images": images, "annotations": found.annotations, "categories": categories}, notes


def label_files(pictures: list[str], root: Path) -> dict[str, str | None]:
    """Return the path from ``root`` of each picture's label file, None where it has none.

    They lie in ``labels/`` where the picture lies in ``images/``, or beside it.

    Raises:
        UserError: if pictures of one folder and name, but of other suffixes, share a file.
    """
    listed: dict[str, dict[str, str]] = {}
    found: dict[str, str | None] = {}
    owners: dict[str, str] = {}
    for picture in pictures:
        folder, name = os.path.split(picture)
        stem = os.path.splitext(name)[0]
        for place in (_labels_folder(folder, root), folder):
            if place not in listed:
                listed[place] = _texts(root / place)
            file = listed[place].get(stem)
            if file is not None:
                break
        found[picture] = None if file is None else os.path.join(place, file)
        if file is not None and owners.setdefault(str(found[picture]), picture) != picture:
            raise UserError(
                f"{root / str(found[picture])} would be the labels of "
                f"{owners[str(found[picture])][-60:]} and of {picture[-60:]}; give pictures names "
                "that differ before the suffix."
            )
    return found


def _labels_folder(folder: str, root: Path) -> str:
    """The folder of labels that stands for one of images, in the spelling that is there."""
    parts = folder.split("/")
    for place in reversed(range(len(parts))):
        if parts[place].lower() == "images":
            for name in ("labels", "Labels", "LABELS"):
                path = "/".join([*parts[:place], name, *parts[place + 1 :]])
                if (root / path).is_dir():
                    return path
            break
    return folder


def _texts(folder: Path) -> dict[str, str]:
    """The text files of a folder by their names without the suffix."""
    split = map(os.path.splitext, sorted(os.listdir(folder)))
    return {stem: stem + suffix for stem, suffix in split if suffix.lower() == ".txt"}


def _size(file: Path) -> dict[str, int]:
    """Width and height as entries have them; nothing of a picture that cannot be read, which is
    named when it is opened."""
    try:
        width, height = picture_size(file)
    except UserError:
        return {}
    return {"width": width, "height": height}


def _read(
    root: Path,
    picture: str,
    file: str | None,
    size: dict[str, int],
    data: DataFile,
    found: _Found,
) -> None:
    """Add the objects of a label file."""
    path = root / str(file)
    lines = read_text(path).splitlines()
    seen = set()
    for number, line in enumerate(lines, 1):
        words = tuple(line.split())
        if not words:
            continue
        if words in seen:
            found.repeated += 1
            continue
        seen.add(words)
        entry = f"{file}, line {number}"
        box = _object(words, data, entry, found.wrong)
        if box is not None and size:
            annotation = _in_pixels(box, size["width"], size["height"])
            annotation |= {"id": entry, "image_id": picture, "category_id": int(float(words[0]))}
            found.annotations.append(annotation)


def _object(
    words: tuple[str, ...], data: DataFile, entry: str, wrong: list[str]
) -> list[float] | None:
    """The numbers of an object's box or outline; None, with the reason noted, for another line."""
    shown = " ".join(words)[:60]
    try:
        label, *values = map(float, words)
    except ValueError:
        wrong.append(f"{entry}: {shown!r}; expected numbers")
        return None
    if label not in data.names:
        known = f"{min(data.names)} to {max(data.names)}"
        wrong.append(f"{entry}: class {words[0][:20]}, where {data.file.name} names {known}")
        return None
    if data.keypoints and len(values) == 4 + data.keypoints:
        values = values[:4]
    if len(values) != 4 and (len(values) < 6 or len(values) % 2):
        wrong.append(
            f"{entry}: {shown!r}; expected a class, then centre x, centre y, width, height or the "
            "corners of an outline"
        )
        return None
    # Also false for what is not a number.
    if not all(-_SLACK <= value <= 1 + _SLACK for value in values):
        wrong.append(f"{entry}: {shown!r}; expected fractions of the picture, from 0 to 1")
        return None
    return values


def _in_pixels(values: list[float], width: int, height: int) -> dict[str, Any]:
    """A box, or an outline and the box around it, in pixels."""
    if len(values) == 4:
        x, y, w, h = values
        w, h = w * width, h * height
        return {"bbox": [x * width - w / 2, y * height - h / 2, w, h], "area": w * h}
    outline = [value * (height if i % 2 else width) for i, value in enumerate(values)]
    left, top = min(outline[::2]), min(outline[1::2])
    box = [left, top, max(outline[::2]) - left, max(outline[1::2]) - top]
    return {"bbox": box, "area": polygon_area([outline]), "segmentation": [outline]}


def _orphans(files: dict[str, str | None], root: Path) -> list[str]:
    """A note about label files without a picture, in the folders of those that have one."""
    folders = {os.path.dirname(file): os.path.dirname(p) for p, file in files.items() if file}
    orphans = []
    for labels, pictures in sorted(folders.items()):
        beside = (os.path.splitext(name) for name in os.listdir(root / pictures))
        known = {stem for stem, suffix in beside if suffix != ".txt"}
        orphans += [
            os.path.join(labels, name)
            for name in sorted(os.listdir(root / labels))
            if name.lower().endswith(".txt") and name[0] != "." and name not in _NO_LABELS
            and name[:-4] not in known
        ]  # fmt: skip
    if not orphans:
        return []
    return [f"{len(orphans):,} label files have no picture, the first {orphans[0][-80:]}"]
