"""Where a split of detection data lies, whatever its format."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


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
