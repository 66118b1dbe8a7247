"""Ids as annotation files spell them: numbers, quoted numbers and words."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

Key = int | str
_WHOLE = re.compile(r"-?\d{1,40}(\.0+)?", re.ASCII)
# What every library below holds without loss.
_LARGEST = 2**31


def key_of(value: Any) -> Key | None:
    """Return what an id means, the same for 1, 1.0 and "1"; None for what is no id."""
    if type(value) is int:
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and value.strip():
        text = value.strip()
        return int(text.split(".")[0]) if _WHOLE.fullmatch(text) else text
    return None


def numbered(keys: Iterable[Key]) -> dict[Key, int]:
    """Return the whole number that stands for each id: itself where all can, else its place."""
    every = list(dict.fromkeys(keys))
    if all(isinstance(key, int) and 0 <= key < _LARGEST for key in every):
        return {key: int(key) for key in every}
    return {key: place for place, key in enumerate(every, 1)}


@dataclass(frozen=True)
class OriginalIds:
    """The ids that a file gives its images and categories, by those used inside, where they
    differ."""

    images: dict[int, Any] = field(default_factory=dict)
    categories: dict[int, Any] = field(default_factory=dict)

    def restored(self, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return records of COCO's results format with the file's own ids."""
        return [
            record
            | {
                "image_id": self.images.get(record["image_id"], record["image_id"]),
                "category_id": self.categories.get(record["category_id"], record["category_id"]),
            }
            for record in records
        ]
