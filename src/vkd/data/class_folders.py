"""Pictures in class folders: one scan of a split, and the classes that its folders mean."""

import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vkd.data.pictures import picture_suffixes
from vkd.data.reader import Labels, UnlabelledError, counted_notes, listed, suffix_note
from vkd.data.sources import Opened, PhotographSource, existing_folder, open_splits
from vkd.data.split_names import splits_among
from vkd.errors import UserError


@dataclass
class Scan:
    """What a folder holds, without opening a file.

    Attributes:
        root: the folder.
        pictures: names of the picture files by the folder below ``root``, "" for ``root`` itself.
        empty: folders below ``root`` in which, at any depth, no picture lies.
        others: number of files that are no pictures, by suffix.
        special: pipes, sockets and devices.
        hidden: files and folders that begin with a dot, and ``__MACOSX``.
        cycles: links to folders that hold them.
    """

    root: Path
    pictures: dict[str, list[str]] = field(default_factory=dict)
    empty: list[str] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    special: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    cycles: list[str] = field(default_factory=list)

    def notes(self) -> list[str]:
        """Return what was left out, with its count."""
        notes = suffix_note(self.others, "file that is no picture", "files that are no pictures")
        return notes + counted_notes(
            {
                "pipes and devices": self.special,
                "hidden files and folders": self.hidden,
                "links to folders that hold them": self.cycles,
                "folders without pictures": self.empty,
            }
        )


def scan_folder(root: Path) -> Scan:
    """List the pictures below a folder; links are followed.

    Raises:
        UserError: if a folder cannot be listed.
    """
    scan = Scan(root)
    try:
        _scan(scan, "", (os.path.realpath(root),))
    except OSError as error:
        raise UserError(f"{error.filename or root} cannot be listed: {error.strerror}.") from None
    return scan


def _scan(scan: Scan, inside: str, above: tuple[str, ...]) -> bool:
    """Scan the folder ``inside`` whose real path is the last of ``above``; whether any picture."""
    suffixes = picture_suffixes()
    endings = set(suffixes)  # as they are written, which spares the lower case of each name
    pictures: list[str] = []
    folders: list[tuple[str, str]] = []
    # No stat for each file: what a directory says of its entries is enough but for links.
    with os.scandir(os.path.join(scan.root, inside)) as entries:
        for entry in entries:
            name = entry.name
            if name[0] == ".":
                scan.hidden.append(_joined(inside, name))
            elif entry.is_file(follow_symlinks=False):
                ending = name[name.rfind(".") :]
                if ending in endings:
                    pictures.append(name)
                elif "." in name and ending.lower() in suffixes:
                    endings.add(ending)
                    pictures.append(name)
                else:
                    scan.others[ending.lower() if "." in name else "no suffix"] += 1
            elif name == "__MACOSX":
                scan.hidden.append(_joined(inside, name))
            elif entry.is_dir(follow_symlinks=False):
                folders.append((name, os.path.join(above[-1], name)))
            elif entry.is_symlink():
                _follow(scan, inside, entry, pictures, folders)
            else:
                scan.special.append(_joined(inside, name))
    if pictures:
        scan.pictures[inside] = sorted(pictures)
    found = bool(pictures)
    for name, real in sorted(folders):
        below = _joined(inside, name)
        if any(f"{folder}/".startswith(f"{real.rstrip('/')}/") for folder in above):
            scan.cycles.append(below)
        elif _scan(scan, below, (*above, real)):
            found = True
        else:
            # Of a folder and the empty ones in it, the outer one is named.
            scan.empty = [e for e in scan.empty if not e.startswith(f"{below}/")] + [below]
    return found


def _follow(
    scan: Scan,
    inside: str,
    entry: "os.DirEntry[str]",
    pictures: list[str],
    folders: list[tuple[str, str]],
) -> None:
    suffix = os.path.splitext(entry.name)[1].lower()
    try:
        mode = os.stat(entry.path).st_mode
    except OSError:
        mode = stat.S_IFREG  # a link to nothing is a picture that cannot be read
    if stat.S_ISDIR(mode):
        folders.append((entry.name, os.path.realpath(entry.path)))
    elif not stat.S_ISREG(mode):
        scan.special.append(_joined(inside, entry.name))
    elif suffix in picture_suffixes():
        pictures.append(entry.name)
    else:
        scan.others[suffix or "no suffix"] += 1


def _joined(inside: str, name: str) -> str:
    return f"{inside}/{name}" if inside else name


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
    """Open the splits of class folders, SPLIT/CLASS/PICTURE.

    Raises:
        UserError: if there are none, or their classes are unclear.
    """
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
