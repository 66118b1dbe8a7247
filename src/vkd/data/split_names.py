"""The names by which people call the splits of their data: one list for every source."""

import re
from collections.abc import Iterable

from vkd.errors import UserError

SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
_SPLIT_OF = {name: split for split, names in SPLIT_NAMES.items() for name in names}


def split_of(name: str) -> str | None:
    """Return train, validation or test for a split's name in any case; None for another name."""
    return _SPLIT_OF.get(name.strip().lower())


def split_within(name: str) -> str | None:
    """Return the name of a split that stands as a word within ``name``, as in ``a-val-0.tar``.

    None where there is no such word, or there are several.
    """
    words = [word for word in re.split(r"[^A-Za-z]+", name) if split_of(word)]
    return words[0] if len({split_of(word) for word in words}) == 1 else None


def splits_among(names: Iterable[str], source: object) -> dict[str, str]:
    """Return the name that each split has in ``source``; names of no split are left out.

    Raises:
        UserError: if two names mean the same split.
    """
    found: dict[str, str] = {}
    for name in sorted(names):
        split = split_of(name)
        if split is None:
            continue
        if split in found:
            raise UserError(
                f"{source} has {found[split]} and {name}, which both mean the {split} split; "
                "rename or remove one."
            )
        found[split] = name
    return found
