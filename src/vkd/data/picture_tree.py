"""Pictures of any folder tree, without labels."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vkd.data.pictures import picture_suffixes
from vkd.data.reader import UNLABELLED, Labels, listed
from vkd.data.scan import Scan, scan_folder
from vkd.data.sources import Opened, PhotographSource, existing_folder, open_splits
from vkd.data.split_names import splits_among
from vkd.errors import UserError


class PictureTree:
    """All pictures of a scan, at any depth; a ``PictureReader`` of the one class ``UNLABELLED``.

    Args:
        scan: of a folder.

    Raises:
        UserError: if it holds no picture.
    """

    def __init__(self, scan: Scan) -> None:
        self.root, self.source = scan.root, str(scan.root)
        self.notes = scan.notes()
        self.classes = list(UNLABELLED)
        self._paths = [
            f"{inside}/{name}" if inside else name
            for inside in sorted(scan.pictures)
            for name in scan.pictures[inside]
        ]
        if not self._paths:
            found = "; ".join(self.notes) or "it is empty"
            raise UserError(f"{scan.root} holds no pictures: {found[:180]}.")
        self.labels: Labels = np.zeros(len(self._paths), dtype=np.int64)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> tuple[Path, int]:
        return self.root / self._paths[index], 0

    def filename(self, index: int) -> str:
        """Return a picture's path."""
        return str(self.root / self._paths[index])

    def sources(self) -> list[tuple[str, Path]]:
        """Return all picture files, with names that begin with the folder's."""
        return list(self._sources())

    def _sources(self) -> Iterator[tuple[str, Path]]:
        for path in self._paths:
            yield f"{self.root.name}/{path}", self.root / path


def read_tree(source: PhotographSource) -> Opened:
    """Open a folder tree: all of it as training pictures, or its splits.

    It has splits where each folder in it is named as one, such as train and val, and no picture
    lies beside them.

    Raises:
        UserError: if there is no picture.
    """
    root = existing_folder(source.path)
    folders = sorted(e.name for e in root.iterdir() if e.is_dir() and e.name[0] != ".")
    names = splits_among(folders, root)
    has_pictures = any(e.suffix.lower() in picture_suffixes() for e in root.iterdir())
    if names and len(names) == len(folders) and not has_pictures:
        return open_splits(names, lambda name, train: PictureTree(scan_folder(root / name)))
    opened = Opened({"train": PictureTree(scan_folder(root))})
    if names:
        opened.notes.append(
            f"not only {listed(names.values())} lie in it, so all of it is read as one"
        )
    return opened
