"""Pascal VOC's format: an XML file for each picture, and lists of those of a split."""

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from vkd.data.class_folders import scan_folder
from vkd.data.pictures import picture_suffixes
from vkd.data.split_names import split_of
from vkd.detection.formats.place import SplitPlace
from vkd.detection.formats.voc_files import VocFile, counted_from, read_voc_file
from vkd.errors import FieldError, UserError
from vkd.files import read_text

_LISTS = {"train": ("train", "trainval"), "validation": ("val",), "test": ("test",)}


def voc_places(folder: Path, image_folder: str = "") -> dict[str, SplitPlace]:
    """Return where the splits lie, by train, validation and test, those that are there.

    Takes VOC's own layout (``Annotations/``, ``JPEGImages/`` and the lists of
    ``ImageSets/Main/``), that of exports (``train/`` and ``valid/`` with XML files and pictures
    below them, also as ``Annotations/train/`` and ``images/train/``), and XML files without splits,
    which are all for training.

    Args:
        folder: of the data.
        image_folder: of the pictures, where they are not below ``folder``.

    Raises:
        UserError: if several data sets lie in the folder, or it cannot be read.
    """
    root = _only_root(folder)
    pictures = Path(image_folder) if image_folder else root
    by_split = _listed(root) or _by_folders(root)
    data = VocData(root, pictures, by_split)
    return {
        split: SplitPlace(place, pictures, pictures, partial(data.content, split))
        for split, (place, files) in by_split.items()
        if files
    }


def _only_root(folder: Path) -> Path:
    """The folder with VOC's own layout, which may lie below VOCdevkit/; else ``folder`` itself."""
    found = [
        lists.parent.parent
        for pattern in ("", "*/", "*/*/")
        for lists in sorted(folder.glob(f"{pattern}ImageSets/Main"))
    ]
    if len(found) > 1:
        names = " and ".join(str(path.relative_to(folder)) for path in found[:3])
        raise FieldError("data_path", f": {folder} holds {names}; name one of them.")
    return found[0] if found else folder


def _listed(root: Path) -> dict[str, tuple[Path, list[Path]]]:
    """The list and the XML files of each split that ImageSets/Main/ has."""
    found = {}
    for split, names in _LISTS.items():
        lists = [root / "ImageSets" / "Main" / f"{name}.txt" for name in names]
        place = next((path for path in lists if path.is_file()), None)
        if place is None:
            continue
        files = [_annotations(root, name) for name in _names(place)]
        missing = [file for file in files if not file.is_file()]
        if len(missing) == len(files) and split == "test":
            continue  # the annotations of VOC2012's test split are kept back
        if missing:
            raise UserError(
                f"{place} lists {len(missing):,} of {len(files):,} pictures without an XML file, "
                f"the first {missing[0]}."
            )
        found[split] = place, files
    return found


def _annotations(root: Path, name: str) -> Path:
    """The XML file of a picture, whose name may have its suffix."""
    file = root / "Annotations" / f"{name}.xml"
    stem, suffix = os.path.splitext(name)
    if suffix.lower() in picture_suffixes() and not file.is_file():
        return root / "Annotations" / f"{stem}.xml"
    return file


def _names(file: Path) -> list[str]:
    lines = read_text(file).splitlines()
    return list(dict.fromkeys(line.split()[0] for line in lines if line.strip()))


def _by_folders(root: Path) -> dict[str, tuple[Path, list[Path]]]:
    """The folder and the XML files of each split; all are for training where none is named."""
    found: dict[str, list[Path]] = defaultdict(list)
    for file in _xml_files(root):
        found[_split_in(file.relative_to(root).parent) or ""].append(file)
    unsplit = found.pop("", [])
    if unsplit and found:
        raise UserError(
            f"{len(unsplit):,} XML files of {root} are in no split, the first "
            f"{unsplit[0].relative_to(root)}; put them into train/, val/ or test/."
        )
    if unsplit:
        return {"train": (root, unsplit)}
    return {
        split: (Path(os.path.commonpath([file.parent for file in files])), files)
        for split, files in found.items()
    }


def _xml_files(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root, followlinks=True):
        folders[:] = sorted(name for name in folders if name[0] != ".")
        for name in sorted(names):
            if name.lower().endswith(".xml") and name[0] != ".":
                yield Path(folder, name)


def _split_in(folder: Path) -> str | None:
    """The split that a part of a path names."""
    splits = {split_of(part.rstrip("0123456789")) for part in folder.parts} - {None}
    return splits.pop() if len(splits) == 1 else None


@dataclass(frozen=True)
class VocData:
    """The XML files and pictures of a data set.

    Attributes:
        root: folder of the XML files.
        pictures: folder of the pictures.
        by_split: the place and the XML files of each split.
    """

    root: Path
    pictures: Path
    by_split: dict[str, tuple[Path, list[Path]]]

    @cached_property
    def _files(self) -> dict[str, list[VocFile]]:
        # All splits are read for each of them, as they must agree on classes and on pixels.
        return {s: list(map(read_voc_file, files)) for s, (_, files) in self.by_split.items()}

    @cached_property
    def _by_stem(self) -> dict[str, list[str]]:
        found = defaultdict(list)
        for folder, names in scan_folder(self.pictures).pictures.items():
            for name in names:
                found[os.path.splitext(name)[0]].append(os.path.join(folder, name))
        return dict(found)

    def content(self, split: str) -> tuple[dict[str, Any], list[str]]:
        """Return raw content in COCO's format of a split, and notes.

        Raises:
            UserError: if a file is none, or its picture is missing or one of several.
        """
        every = [file for files in self._files.values() for file in files]
        names = sorted({found.name for file in every for found in file.objects})
        categories = {name: number for number, name in enumerate(names, 1)}
        first, note = counted_from(every)
        notes = [note] if note else []
        own = self._files[split]
        pictures = {file.path: self._picture(file, split) for file in own}
        notes += self._notes(own, pictures)
        annotations = [
            {
                "id": f"{file.path.relative_to(self.root)}, object {number}",
                "image_id": pictures[file.path],
                "category_id": categories[found.name],
                **_box(found.corners, first),
                "iscrowd": int(found.is_difficult),
            }
            for file in own
            for number, found in enumerate(file.objects, 1)
        ]
        images = [
            {"id": pictures[file.path], "file_name": pictures[file.path], **file.size}
            for file in own
        ]
        entries = [{"id": number, "name": name} for name, number in categories.items()]
        return {"images": images, "annotations": annotations, "categories": entries}, notes

    def _picture(self, file: VocFile, split: str) -> str:
        """The path of a file's picture: that of its own name, else that which it names."""
        named = os.path.splitext(file.picture.replace("\\", "/").rsplit("/", 1)[-1])[0]
        for stem in (file.path.stem, named):
            found = self._by_stem.get(stem, [])
            if len(found) > 1:
                found = [p for p in found if _split_in(Path(p).parent) == split] or found
            if len(found) > 1:
                beside = os.path.relpath(file.path.parent, self.pictures)
                found = [p for p in found if os.path.dirname(p) == beside] or found
            if len(found) > 1:
                raise UserError(
                    f"{file.path} could be of {found[0][-60:]} and of {found[1][-60:]}; give "
                    "pictures names that differ before the suffix."
                )
            if found:
                return found[0]
        raise UserError(
            f"{file.path} has no picture called {file.path.stem[:60]} below {self.pictures}; set "
            "image_folder (--image-folder) where they lie elsewhere."
        )

    def _notes(self, files: list[VocFile], pictures: dict[Path, str]) -> list[str]:
        notes = []
        difficult = sum(found.is_difficult for file in files for found in file.objects)
        if difficult:
            notes.append(
                f"{difficult:,} difficult objects are neither learned from nor scored, as in VOC"
            )
        other = [
            file
            for file in files
            if file.picture and _stem(file.picture) != _stem(pictures[file.path])
        ]
        if other:
            notes.append(
                f"{len(other):,} XML files name another picture than the one found by their own "
                f"name, which is used, the first {other[0].path.name} with "
                f"{other[0].picture[-60:]}"
            )
        known = {file.path.stem for files in self._files.values() for file in files}
        folders = {os.path.dirname(picture) for picture in pictures.values()}
        without = [
            picture
            for stem, found in self._by_stem.items()
            for picture in found
            if stem not in known and os.path.dirname(picture) in folders
        ]
        if without and self.by_split[next(iter(self.by_split))][0].is_dir():
            notes.append(
                f"{len(without):,} pictures have no XML file and are left out, the first "
                f"{without[0][-80:]}"
            )
        return notes


def _stem(path: str) -> str:
    """A picture's name without folders and suffix, in any case."""
    return os.path.splitext(path.replace("\\", "/").rsplit("/", 1)[-1])[0].casefold()


def _box(corners: tuple[float, float, float, float], first: int) -> dict[str, Any]:
    left, top, right, bottom = corners
    width, height = right - left + first, bottom - top + first
    return {"bbox": [left - first, top - first, width, height], "area": width * height}
