"""The sizes that annotations claim for pictures, against the pictures themselves."""

from pathlib import Path
from typing import Any

from vkd.data.pictures import picture_size
from vkd.detection.described import as_size, shown
from vkd.detection.identifiers import Key
from vkd.errors import UserError

MOST_LOOKED_AT = 10_000
_UNKNOWN = float("inf")


def measure(
    images: dict[Key, dict[str, Any]], folder: Path, source: object, notes: list[str]
) -> dict[Key, tuple[float, float]]:
    """Return (width, height) of each picture, and put them into its entry.

    They are those of the pictures for at most ``MOST_LOOKED_AT`` and where the file names none;
    of the others, what the file claims. Infinite where neither is known.

    Raises:
        UserError: if an entry has a size that is none.
    """
    keys = list(images)
    step = max(1, -(-len(keys) // MOST_LOOKED_AT))
    claimed = {key: _claimed(entry, source) for key, entry in images.items()}
    looked_at = set(keys[::step]) | {key for key in keys if claimed[key] is None}
    sizes: dict[Key, tuple[float, float]] = {}
    differing, swapped, absent = [], 0, []
    for key in keys:
        claim = claimed[key]
        real = _real(folder / images[key]["file_name"]) if key in looked_at else None
        if claim is None:
            absent.append(key)
        elif real is not None and claim != real:
            differing.append(key)
            swapped += claim == real[::-1]
        sizes[key] = real or claim or (_UNKNOWN, _UNKNOWN)
        if real or claim:
            images[key]["width"], images[key]["height"] = map(int, sizes[key])
        else:  # a picture that cannot be read, which is left out when it is
            images[key]["width"] = images[key]["height"] = 0
    if absent:
        name = images[absent[0]]["file_name"]
        notes.append(
            f"{len(absent):,} images have no width or height, which were read from the pictures, "
            f"the first {name[:80]}"
        )
    if differing:
        name = images[differing[0]]["file_name"]
        notes.append(
            f"{len(differing):,} of {len(looked_at):,} pictures that were looked at have another "
            f"size than the file says ({swapped:,} with width and height swapped), the first "
            f"{name[:80]}; their own sizes are used"
        )
    return sizes


def _claimed(entry: dict[str, Any], source: object) -> tuple[float, float] | None:
    if entry.get("width") is None or entry.get("height") is None:
        return None
    sides = []
    for name in ("width", "height"):
        side = as_size(entry[name])
        if side is None:
            raise UserError(
                f"{source}: image {shown(entry['id'])} ({entry['file_name'][-80:]}) has the {name} "
                f"{shown(entry[name])}; expected pixels."
            )
        sides.append(side)
    return sides[0], sides[1]


def _real(file: Path) -> tuple[float, float] | None:
    try:
        width, height = picture_size(file)
    except UserError:  # named and counted when it is read
        return None
    return float(width), float(height)
