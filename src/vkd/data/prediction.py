"""Answering for picture files: found by name, folder or pattern, opened in batches."""

import os
from collections.abc import Callable, Iterator, Sequence
from glob import glob, has_magic
from pathlib import Path
from typing import Any

from PIL import Image

from vkd.data.pictures import open_picture
from vkd.data.scan import scan_folder
from vkd.errors import UserError
from vkd.notes import say

Record = dict[str, Any]
Answer = Callable[[list[str], list[Image.Image]], list[Record]]


def list_pictures(inputs: Sequence[str]) -> list[str]:
    """Return the files that ``inputs`` stand for, in order.

    Args:
        inputs: files; folders, for all pictures below them, hidden ones left out; or patterns
            such as ``photos/*.jpg``.

    Raises:
        UserError: if a folder holds no picture, or nothing matches a pattern.
    """
    found: list[str] = []
    for entry in inputs:
        if os.path.isdir(entry):
            files = sorted(_below(entry))
            if not files:
                raise UserError(f"The folder {entry} holds no pictures.")
        elif has_magic(entry) and not os.path.lexists(entry):
            files = sorted(file for file in glob(entry, recursive=True) if not os.path.isdir(file))
            if not files:
                raise UserError(f"Nothing matches {entry}.")
        else:
            files = [entry]
        found += files
    return found


def _below(folder: str) -> list[str]:
    scan = scan_folder(Path(folder))
    say(folder, scan.notes())
    return [
        os.path.join(folder, inside, name)
        for inside, names in scan.pictures.items()
        for name in names
    ]


def answer_in_batches(
    files: Sequence[str], batch_size: int, answer: Answer, mode: str = "RGB"
) -> Iterator[Record]:
    """Yield a record for each file, in order and as soon as its batch is answered.

    Args:
        files: names of picture files.
        batch_size: files that are open at once.
        answer: returns the records of a batch, given names and pictures, each with its ``image``.
        mode: of the pictures, RGB or L.

    Yields:
        Records of ``answer``; for a file that cannot be read its ``image`` and an ``error``.
    """
    for first in range(0, len(files), batch_size):
        names = files[first : first + batch_size]
        opened = [_opened(name, mode) for name in names]
        good = [
            (name, picture)
            for name, picture in zip(names, opened, strict=True)
            if isinstance(picture, Image.Image)
        ]
        records = iter(answer([n for n, _ in good], [p for _, p in good]) if good else ())
        for name, picture in zip(names, opened, strict=True):
            is_bad = isinstance(picture, UserError)
            yield {"image": name, "error": str(picture)} if is_bad else next(records)


def _opened(name: str, mode: str) -> Image.Image | UserError:
    try:
        return open_picture(Path(name), mode)
    except UserError as error:
        return error
