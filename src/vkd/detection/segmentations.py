"""Segmentations that masks are drawn from: checked before anything is drawn."""

from typing import Any

import numpy as np

from vkd.detection.boxes import polygon_area
from vkd.detection.described import entry_name, shown
from vkd.errors import UserError

# Along the outlines of an object; drawing takes time and memory for each pixel of them, also for
# those far away from the picture.
MOST_OUTLINE = 2_000_000


def check_segmentations(
    annotations: list[dict[str, Any]], sizes: dict[int, tuple[float, float]], source: object
) -> None:
    """Check that each annotation but crowds has polygons, or run lengths of its image's size.

    Args:
        annotations: with ``image_id`` and ``iscrowd``.
        sizes: (width, height) of the images.
        source: the file, for messages.

    Raises:
        UserError: with the number of those that have none, and the first.
    """
    wrong = [
        place
        for place, annotation in enumerate(annotations)
        if not annotation["iscrowd"]
        and not _is_mask(annotation.get("segmentation"), sizes[annotation["image_id"]])
    ]
    if wrong:
        first = annotations[wrong[0]]
        raise UserError(
            f"{source}: {len(wrong):,} of {len(annotations):,} annotations have no mask, the first "
            f"{entry_name(first, wrong[0])} with {shown(first.get('segmentation'))}; "
            "token_label_weight (--token-label-weight) above 0 needs polygons or run lengths."
        )


def _is_mask(found: Any, size: tuple[float, float]) -> bool:
    if isinstance(found, list):
        return polygon_area(found) > 0 and _outline(found) <= MOST_OUTLINE
    if not isinstance(found, dict) or found.get("size") != [size[1], size[0]]:
        return False
    counts, pixels = found.get("counts"), size[0] * size[1]
    if isinstance(counts, str):
        return _total(counts) == pixels
    if not isinstance(counts, list) or not all(type(n) is int and n >= 0 for n in counts):
        return False
    return sum(counts) == pixels


def _outline(polygons: list[list[float]]) -> float:
    """The length of polygons together, in pixels."""
    total = 0.0
    for polygon in polygons:
        corners = np.array(polygon, dtype=np.float64).reshape(-1, 2)
        total += float(np.abs(corners - np.roll(corners, 1, axis=0)).max(1).sum())
    return total


def mask_of(coco: Any, annotation: dict[str, Any], size: tuple[int, int]) -> Any:
    """Return an object's mask (height, width) on a picture of this ``size``.

    Raises:
        UserError: if its run lengths are of another size, which the file claims for the picture.
    """
    found = annotation["segmentation"]
    if isinstance(found, dict) and found["size"] != list(size):
        raise UserError(
            f"{entry_name(annotation, 0)} has a mask of {shown(found['size'])} (height, width), "
            f"and its picture is {size[0]} x {size[1]}; write it anew."
        )
    return coco.annToMask(annotation)


def _total(text: str) -> int:
    """The sum of the run lengths in COCO's compressed string; -1 for what is none."""
    runs: list[int] = []
    value = shift = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift > 40:
            return -1
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:
            value -= (1 << shift) if code & 16 else 0
            # From the third on, what is written is the change from two runs before.
            value += runs[-2] if len(runs) > 2 else 0
            if value < 0:
                return -1
            runs.append(value)
            value = shift = 0
    return sum(runs) if not shift else -1
