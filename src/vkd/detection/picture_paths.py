"""Where the pictures lie that annotations name, whatever the spelling of their paths."""

import os
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

from vkd.errors import UserError
from vkd.inside import inside


class PicturePaths:
    """Finds the files of a folder by the paths that annotations have for them.

    Args:
        folder: of the pictures.
        inside: the folder that no path may leave.
        source: the file of annotations, for messages.

    Attributes:
        notes: which paths were guessed.
    """

    def __init__(self, folder: Path, inside: Path, source: object) -> None:
        self.folder, self.source = folder, source
        self._root, self._inside = os.path.abspath(folder), os.path.abspath(inside)
        self._present = {
            os.path.relpath(os.path.join(where, name), self._root).replace(os.sep, "/")
            for where, _, names in os.walk(self._root)
            for name in names
        }
        folded = Counter(name.casefold() for name in self._present)
        self._folded = {n.casefold(): n for n in self._present if folded[n.casefold()] == 1}
        self.notes: list[str] = []

    def find(self, names: list[str]) -> list[str]:
        """Return the path of each name, relative to the folder.

        A name may have backslashes, be absolute, of another machine or an address; then its
        longest end that is a file of the folder counts, as does one that differs in case alone.

        Raises:
            UserError: if files are missing, lie outside, or cannot be told apart.
        """
        found = [self._exact(name) for name in names]
        guessed = [place for place, path in enumerate(found) if path is None]
        guesses = {place: self._guess(names[place]) for place in guessed}
        missing = [names[place] for place in guessed if guesses[place] is None]
        if missing:
            raise UserError(self._sentence(missing, len(names)))
        paths = [path or guesses[place] or "" for place, path in enumerate(found)]
        owners: dict[str, str] = {}
        for place, path in enumerate(paths):
            other = owners.setdefault(path, names[place])
            if other != names[place] and place in guesses:
                raise UserError(
                    f"{self.source} names {other[-70:]} and {names[place][-70:]}, which would both "
                    f"be {path[-60:]} in {self.folder}; set image_folder (--image-folder)."
                )
        if guessed:
            first = guessed[0]
            self.notes.append(
                f"{len(guessed):,} paths are not as they are written, and their pictures were "
                f"found by the end of their names, the first {names[first][-80:]} as {paths[first]}"
            )
        return paths

    def _exact(self, name: str) -> str | None:
        if name in self._present:
            return name
        path = os.path.normpath(os.path.join(self._root, name.replace("\\", "/")))
        relative = os.path.relpath(path, self._root).replace(os.sep, "/")
        if relative in self._present:
            return relative
        is_inside = inside(self._inside, path) is not None
        return relative if is_inside and os.path.isfile(path) else None

    def _guess(self, name: str) -> str | None:
        path = urlsplit(name).path if "://" in name else name.replace("\\", "/")
        parts = [part for part in path.split("/") if part not in ("", ".", "..")]
        for start in range(len(parts)):
            tail = "/".join(parts[start:])
            match = tail if tail in self._present else self._folded.get(tail.casefold())
            if match is not None:
                return match
        return None

    def _sentence(self, missing: list[str], count: int) -> str:
        first = missing[0]
        if os.path.isfile(os.path.join(self._root, first)):
            return (
                f"{self.source} names pictures outside of the data, the first {first[-90:]}; set "
                "image_folder (--image-folder) to their folder."
            )
        return (
            f"{self.source} names {len(missing):,} of {count:,} images that are not in "
            f"{self.folder}, first {first[-90:]}; set image_folder (--image-folder) where they lie "
            "elsewhere."
        )
