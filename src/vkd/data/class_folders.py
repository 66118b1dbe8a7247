"""Pictures in class folders: the classes that the folders of a split mean."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vkd.data.picture_tree import read_tree
from vkd.data.reader import Labels, UnlabelledError, counted_notes, listed
from vkd.data.scan import Scan, scan_folder
from vkd.data.sources import Opened, PhotographSource, existing_folder, open_splits
from vkd.data.split_names import splits_among
from vkd.errors import UserError


class ClassFolders:
    """Pictures of a scan with the classes that its folders mean; a ``PictureReader``.

    Args:
        scan: of a split.
        like: the training split, whose folders decide which level is the class.

    Raises:
        UnlabelledError: if the pictures lie in no folders.
        UserError: if there are none, or their folders do not say which level is the class.
    """

    def __init__(self, scan: Scan, like: "ClassFolders | None" = None) -> None:
        self.root, self.source = scan.root, str(scan.root)
        folders = sorted(inside for inside in scan.pictures if inside)
        flat = scan.pictures.get("", [])
        if not folders:
            raise _without_classes(scan, flat)
        notes: list[str] = []
        if like is not None and like.level is not None and all("/" in f for f in folders):
            self.level: int | None = like.level
        else:
            self.level, notes = _class_level(scan.root, folders)
        self.notes = [*notes, *scan.notes()]
        self.notes += counted_notes({"pictures that lie in no class folder": flat})
        self.classes = sorted({self._class_of(inside) for inside in folders})
        number = {name: index for index, name in enumerate(self.classes)}
        self._folders = sorted(folders, key=lambda inside: (number[self._class_of(inside)], inside))
        self._names = [name for inside in self._folders for name in scan.pictures[inside]]
        counts = [len(scan.pictures[inside]) for inside in self._folders]
        self._ends = np.cumsum(counts)
        numbers = np.array([number[self._class_of(inside)] for inside in self._folders])
        self.labels: Labels = np.repeat(numbers, counts).astype(np.int64)

    def _class_of(self, inside: str) -> str:
        parts = inside.split("/")
        return parts[-1 if self.level is None else self.level]

    def __len__(self) -> int:
        return len(self._names)

    def _relative(self, index: int) -> str:
        place = int(np.searchsorted(self._ends, index, side="right"))
        return f"{self._folders[place]}/{self._names[index]}"

    def __getitem__(self, index: int) -> tuple[Path, int]:
        return self.root / self._relative(index), int(self.labels[index])

    def filename(self, index: int) -> str:
        """Return a picture's path."""
        return str(self.root / self._relative(index))

    def sources(self) -> list[tuple[str, Path]]:
        """Return all picture files, with names relative to the folder of the splits."""
        return list(self._sources())

    def _sources(self) -> Iterator[tuple[str, Path]]:
        for index in range(len(self)):
            relative = self._relative(index)
            yield f"{self.root.name}/{relative}", self.root / relative


def _without_classes(scan: Scan, flat: list[str]) -> UserError:
    if flat:
        return UnlabelledError(
            f"{scan.root} holds {len(flat):,} pictures and no class folders, the first "
            f"{flat[0][:60]}; move them into a folder for each class, or name their classes in a "
            "table (dataset table)."
        )
    found = "; ".join(scan.notes()) or "it is empty"
    return UserError(f"{scan.root} has no pictures in class folders: {found[:180]}.")


def _class_level(root: Path, folders: list[str]) -> tuple[int | None, list[str]]:
    """Which part of its path is a folder's class (None: there is one part), and notes on it."""
    nested = [inside for inside in folders if "/" in inside]
    if not nested:
        return None, []
    if len(nested) < len(folders):
        direct = next(inside for inside in folders if "/" not in inside)
        raise UserError(
            f"{root} has pictures both in class folders, such as {direct[:60]}, and deeper, such "
            f"as {nested[0][:60]}, so that its classes are unclear; put all of them at one depth."
        )
    tops: dict[str, set[str]] = {}
    for inside in nested:
        top, *_, innermost = inside.split("/")
        tops.setdefault(innermost, set()).add(top)
    places = Counter(inside.rsplit("/", 1)[1] for inside in nested)
    if max(places.values()) == 1:
        note = f"the class is the innermost folder, such as {places.most_common(1)[0][0]}"
        return -1, [f"{note} of {nested[0]}"]
    if all(len(found) > 1 for found in tops.values()):
        top, *_, innermost = nested[0].split("/")
        return 0, [f"the class is the outer folder, such as {top} of {nested[0]}"]
    raise UserError(
        f"{root} has its pictures in folders of folders whose names ({listed(sorted(places))}) are "
        "neither all distinct nor each in several of the top folders "
        f"({listed(sorted({inside.split('/')[0] for inside in nested}))}), so that the classes are "
        "unclear; keep one folder for each class."
    )


def read_folder(source: PhotographSource) -> Opened:
    """Open the splits of class folders, SPLIT/CLASS/PICTURE; without labels those of any tree.

    Raises:
        UserError: if there are none, or their classes are unclear.
    """
    if not source.labelled:
        return read_tree(source)
    root = existing_folder(source.path)
    folders = [entry.name for entry in root.iterdir() if entry.is_dir()]
    names = splits_among(folders, root)
    if not names:
        shown = sorted(name for name in folders if name[0] != ".")
        found = f"the folders {listed(shown)}" if shown else "no folders"
        raise UserError(
            f"{root} has no folder train, val or test but {found}; put the class folders into "
            f"{root / 'train'}, from which a share is then held out to validate with."
        )

    def opened(name: str, train: ClassFolders | None) -> ClassFolders:
        return ClassFolders(scan_folder(root / name), train)

    return open_splits(names, opened)
