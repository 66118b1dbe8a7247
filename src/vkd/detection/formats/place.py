"""Where a split of detection data lies, and its text, whatever its format."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vkd.errors import UserError


@dataclass(frozen=True)
class SplitPlace:
    """A split before it is read.

    Attributes:
        file: what its annotations stand in, for messages.
        pictures: the folder that pictures are named from.
        inside: the folder that no picture may lie outside of.
        read: returns raw content in COCO's format, of any type, and notes of what was mended,
            left out or guessed.
    """

    file: Path
    pictures: Path
    inside: Path
    read: Callable[[], tuple[Any, list[str]]]


def read_text(file: Path) -> str:
    """Return the text of a file in UTF-8.

    Raises:
        UserError: if it is no file, such as a pipe, which would wait for ever, or no text.
    """
    if not file.is_file():
        raise UserError(f"{file} cannot be read: it is no file.")
    try:
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is no text in UTF-8: {str(error)[:80]}.") from None
