"""What a folder holds: one scan that lists its pictures and opens none."""

import os
import stat
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from vkd.data.pictures import picture_suffixes
from vkd.data.reader import counted_notes, suffix_note
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
