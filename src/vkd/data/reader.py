"""What every source of labelled pictures gives: pictures by number, unopened, and their labels."""

from collections import Counter
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vkd.errors import UserError

Labels = NDArray[np.int64]
# The classes of pictures that are read without labels: all are of one, which has no name.
UNLABELLED = ("",)


class PictureReader(Protocol):
    """A split of labelled pictures with random access, which opens none of them by itself.

    Attributes:
        source: the folder or file that it was read from, for messages.
        classes: their names; a label is an index into them.
        labels: of all pictures (N,).
        notes: what was mended, left out or guessed while it was read.
    """

    source: str
    classes: list[str]
    labels: Labels
    notes: list[str]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Path | BytesIO, int]:
        """Return a picture's file, or its bytes, and its label."""
        ...

    def filename(self, index: int) -> str:
        """Return a picture's name for messages."""
        ...

    def sources(self) -> list[tuple[str, Path]]:
        """Return the files that hold the pictures, with names relative to the data's root."""
        ...


class UnlabelledError(UserError):
    """Pictures are there but no labels, as in the test split of many a contest."""


def listed(names: Iterable[object], most: int = 5) -> str:
    """Return names with commas, at most so many, and the number of all where some are cut."""
    every = [str(name) for name in names]
    shown = ", ".join(name if len(name) <= 40 else f"{name[:37]}..." for name in every[:most])
    return shown if len(every) <= most else f"{shown}, ... ({len(every)} in all)"


def sorted_names(names: Iterable[str]) -> list[str]:
    """Return the distinct names in order: whole numbers by value, others as strings."""
    found = set(names)
    if all(is_number(name) for name in found):
        return sorted(found, key=lambda name: (int(name), name))
    return sorted(found)


def is_number(name: str) -> bool:
    """Return whether a name is a whole number of at most 18 digits."""
    return name.isascii() and name.removeprefix("-").isdigit() and len(name) < 19


def places_among(names: Sequence[str], known: Sequence[str]) -> list[int | None]:
    """Return where each name stands among those known, None for one that does not.

    Names that are all whole numbers, on both sides, are the same where their values are, so that
    ``7`` is ``007``.
    """
    exact = {name: place for place, name in enumerate(known)}
    if all(is_number(name) for name in [*names, *known]):
        by_value = {int(name): place for place, name in enumerate(known)}
        if len(by_value) == len(known) and len({int(name) for name in names}) == len(names):
            return [by_value.get(int(name)) for name in names]
    return [exact.get(name) for name in names]


def suffix_note(others: Counter[str], one: str, many: str) -> list[str]:
    """Return a note on what was left out by suffix, with counts; none where nothing was.

    Args:
        others: their number by suffix.
        one, many: what one, and several, are called.
    """
    total = others.total()
    suffixes = (f"{suffix} ({count:,})" for suffix, count in sorted(others.items()))
    what = one if total == 1 else many
    return [f"left out {total:,} {what}: {listed(suffixes)}"] if total else []


def empty_note(classes: Sequence[str], labels: Labels) -> list[str]:
    """Return a note on the classes that no label names; none where there are none."""
    counts = np.bincount(labels, minlength=len(classes))
    empty = [name for name, count in zip(classes, counts, strict=True) if not count]
    return [f"classes without pictures: {listed(empty)}"] if empty else []


def counted_notes(left_out: dict[str, list[str]]) -> list[str]:
    """Return a note for each reason that left something out, with the count and the first name."""
    return [
        f"left out {len(names):,} {reason}, the first {min(names)}"
        for reason, names in left_out.items()
        if names
    ]
