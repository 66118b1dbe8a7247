"""The boxes and areas of annotations: checked, measured and mended."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vkd.detection.described import entry_name, shown
from vkd.errors import UserError

_NUMBERS = (int, float)
_LIMIT = 1e9
# Boxes on the border are often rounded outwards.
_SLACK = 1.0
Rows = NDArray[np.float64]


def check_boxes(
    annotations: list[dict[str, Any]],
    sizes: dict[int, tuple[float, float]],
    source: object,
    notes: list[str],
    with_masks: bool,
) -> int:
    """Check all boxes, and give every annotation its area; return how many can be learned from.

    Args:
        annotations: with ``image_id`` and ``iscrowd``; segmentations are dropped.
        sizes: (width, height) of the images.
        source: the file, for messages.
        notes: takes what was mended or left out.
        with_masks: keep segmentations.

    Raises:
        UserError: if a box is none, or all are in other units.
    """
    boxes = _boxes(annotations, source)
    if not len(boxes):
        return 0
    if 0 < np.abs(boxes).max() <= 1:
        raise UserError(
            f"{source}: all {len(boxes):,} boxes are at most 1, which are fractions of the "
            "picture; expected left, top, width, height in pixels."
        )
    frames = np.array([sizes[a["image_id"]] for a in annotations], dtype=np.float64)
    _check_corners(boxes, frames, source, annotations, notes)
    low, high = np.maximum(boxes[:, :2], 0), np.minimum(boxes[:, :2] + boxes[:, 2:], frames)
    has_area = (high > low).all(1)
    if not has_area.all():
        first = int(np.flatnonzero(~has_area)[0])
        notes.append(
            f"{(~has_area).sum():,} boxes without area inside their image are left out of "
            f"training, first {entry_name(annotations[first], first)}"
        )
    _give_areas(annotations, boxes, notes)
    if not with_masks:
        for annotation in annotations:
            annotation.pop("segmentation", None)
    crowds = np.fromiter((a["iscrowd"] for a in annotations), dtype=bool, count=len(annotations))
    return int((has_area & ~crowds).sum())


def _boxes(annotations: list[dict[str, Any]], source: object) -> Rows:
    found = []
    for place, annotation in enumerate(annotations):
        box = annotation.get("bbox")
        if type(box) is not list or len(box) != 4 or not _is_finite(box):
            raise UserError(
                f"{source}: {entry_name(annotation, place)} has the box {shown(box)}; expected "
                "left, top, width, height in pixels."
            )
        found.append(box)
    return np.array(found, dtype=np.float64).reshape(-1, 4)


def _is_finite(box: list[Any]) -> bool:
    # Written out, as this is most of the time that a large file takes.
    left, top, width, height = box
    if type(left) not in _NUMBERS or type(top) not in _NUMBERS:
        return False
    if type(width) not in _NUMBERS or type(height) not in _NUMBERS:
        return False
    is_placed = -_LIMIT < left < _LIMIT and -_LIMIT < top < _LIMIT
    return is_placed and -_LIMIT < width < _LIMIT and -_LIMIT < height < _LIMIT


def _check_corners(
    boxes: Rows,
    frames: Rows,
    source: object,
    annotations: list[dict[str, Any]],
    notes: list[str],
) -> None:
    beyond = (boxes[:, :2] + boxes[:, 2:] > frames + _SLACK).any(1)
    beyond |= (boxes[:, :2] < -_SLACK).any(1)
    if not beyond.any():
        return
    fits = (boxes[:, 2:] > boxes[:, :2]).all(1) & (boxes[:, 2:] <= frames + _SLACK).all(1)
    fits &= (boxes[:, :2] >= -_SLACK).all(1)
    first = int(np.flatnonzero(beyond)[0])
    if (beyond & fits).sum() > len(boxes) / 2:
        raise UserError(
            f"{source}: {beyond.sum():,} of {len(boxes):,} boxes reach beyond their picture and "
            "look like corners (left, top, right, bottom), first "
            f"{entry_name(annotations[first], first)}; expected left, top, width, height."
        )
    notes.append(
        f"{beyond.sum():,} of {len(boxes):,} boxes reach beyond their picture, first "
        f"{entry_name(annotations[first], first)}"
    )


def _give_areas(annotations: list[dict[str, Any]], boxes: Rows, notes: list[str]) -> None:
    products = (boxes[:, 2] * boxes[:, 3]).tolist()
    mended = 0
    for annotation, product in zip(annotations, products, strict=True):
        area = annotation.get("area")
        if isinstance(area, int | float) and (0 < area < 1e18 or product <= 0):
            continue
        annotation["area"] = polygon_area(annotation.get("segmentation")) or max(product, 0.0)
        mended += 1
    if mended:
        notes.append(f"{mended:,} areas are absent or none; they are those of masks or boxes")


def polygon_area(segmentation: Any) -> float:
    """Return the area that polygons enclose together; 0 for what is no list of polygons."""
    if not isinstance(segmentation, list):
        return 0.0
    total = 0.0
    for polygon in segmentation:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            return 0.0
        if not all(type(value) in _NUMBERS and -_LIMIT < value < _LIMIT for value in polygon):
            return 0.0
        x, y = np.array(polygon, dtype=np.float64).reshape(-1, 2).T
        total += abs(float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))) / 2
    return total
