"""What a detector finds: precision by recall and by category, and boxes on pictures."""

from collections import Counter
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vkd.data.description import as_picture, spread
from vkd.data.transforms import IMAGENET
from vkd.detection.coco import CocoImages
from vkd.detection.drawing import drawn
from vkd.detection.metrics import precision_by_recall
from vkd.training.findings import Absent, Finding, Lines, Picture, PictureRows, Table

_MOST_CATEGORIES = 20
_MOST_PICTURES, _MOST_LOOKED_AT = 8, 64
_MOST_BOXES = 20
_LEAST_SCORE = 0.3
_SIDE = 360
# By the place of the overlap in COCO's results.
_OVERLAPS = {0: 0.5, 5: 0.75}


def findings_of(
    images: CocoImages, ground_truth: dict[str, Any], records: list[dict[str, Any]]
) -> list[Finding]:
    """Return the findings of an evaluation.

    Args:
        images: the pictures.
        ground_truth: of those that could be read, in COCO's format.
        records: all detections, in COCO's results format.
    """
    curves, title = "Precision by recall", "Categories"
    if not records or not ground_truth["annotations"]:
        text = "There are no detections." if not records else "The pictures have no objects."
        return [
            Absent(title=curves, text=text),
            Absent(title=title, text=text),
            _boxes(images, ground_truth, records),
        ]
    precision = precision_by_recall(ground_truth, records)
    has_objects = (precision > -1).any((0, 1))
    return [
        _curves(curves, precision[..., has_objects]),
        _categories(title, precision, ground_truth),
        _boxes(images, ground_truth, records),
    ]


def _curves(title: str, precision: np.ndarray) -> Lines:
    recalls = np.linspace(0, 1, precision.shape[1]).round(2).tolist()
    mean = 100 * precision.mean(2)
    return Lines(
        title=title,
        text=f"Mean of {precision.shape[2]:,} categories with objects, for boxes that overlap an "
        "object by so much.",
        x="recall",
        y="precision, %",
        series={
            f"overlap {overlap}": (recalls, mean[place].round(3).tolist())
            for place, overlap in _OVERLAPS.items()
        },
    )


def _categories(title: str, precision: np.ndarray, ground_truth: dict[str, Any]) -> Table:
    """Average precision of the categories that have the most objects."""
    counts = Counter(
        annotation["category_id"]
        for annotation in ground_truth["annotations"]
        if not annotation.get("iscrowd", 0)
    )
    ordered = sorted(ground_truth["categories"], key=lambda entry: entry["id"])
    places = {entry["id"]: place for place, entry in enumerate(ordered)}
    names = {entry["id"]: str(entry["name"]) for entry in ordered}
    shown = counts.most_common(_MOST_CATEGORIES)
    rows = [
        [
            names[category],
            f"{count:,}",
            f"{100 * precision[..., places[category]].mean():.1f}",
            f"{100 * precision[0, :, places[category]].mean():.1f}",
        ]
        for category, count in shown
    ]
    text = f"{len(shown):,} of {len(counts):,} categories with objects, those with the most."
    return Table(title=title, text=text, header=["category", "objects", "AP", "AP50"], rows=rows)


def _boxes(
    images: CocoImages, ground_truth: dict[str, Any], records: list[dict[str, Any]]
) -> Finding:
    """True and found boxes, on a few pictures that have objects where any has."""
    title = "Boxes on pictures"
    by_image: dict[int, list[dict[str, Any]]] = {}
    for record in records:
        if record["score"] >= _LEAST_SCORE:
            by_image.setdefault(record["image_id"], []).append(record)
    with_objects = {annotation["image_id"] for annotation in ground_truth["annotations"]}
    chosen = [place for place, id in enumerate(images.ids) if id in with_objects]
    chosen = chosen or list(range(len(images)))
    rows: list[list[Picture]] = []
    for index in spread(len(chosen), min(_MOST_PICTURES, _MOST_LOOKED_AT)):
        image, target = images[chosen[index]]
        if target["is_readable"]:
            found = by_image.get(int(target["image_id"]), [])
            rows.append(_row(images, image, target, found))
    if not rows:
        return Absent(title=title, text="None of the pictures that were looked at can be read.")
    text = (
        f"{len(rows)} of {len(images):,} validation pictures, evenly spread; boxes with a score of "
        f"{_LEAST_SCORE} or more, at most {_MOST_BOXES}."
    )
    return PictureRows(title=title, text=text, first="true boxes", others="found boxes", rows=rows)


def _row(
    images: CocoImages, image: Tensor, target: dict[str, Any], records: list[dict[str, Any]]
) -> list[Picture]:
    picture = as_picture(image, IMAGENET)
    picture.thumbnail((_SIDE, _SIDE))
    best = sorted(records, key=lambda record: -record["score"])[:_MOST_BOXES]
    height, width = target["original_size"].tolist()
    scale = torch.tensor([picture.width / width, picture.height / height]).repeat(2)
    boxes = torch.tensor([record["bbox"] for record in best]).view(-1, 4)
    corners = torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1) * scale
    labels = images.categories.labels
    found = [labels[record["category_id"]] for record in best]
    centre, size = target["boxes"].split(2, 1)
    sides = torch.tensor([picture.width, picture.height]).repeat(2)
    truth = torch.cat([centre - size / 2, centre + size / 2], 1) * sides
    scores = [f"{record['score']:.2f}" for record in best]
    return [
        _drawn(images, picture, truth, target["labels"].tolist(), "true"),
        _drawn(images, picture, corners, found, "found", scores),
    ]


def _drawn(
    images: CocoImages,
    picture: Image.Image,
    boxes: Tensor,
    labels: list[int],
    kind: str,
    scores: list[str] | None = None,
) -> Picture:
    """A picture with boxes, and what they hold in words."""
    names = [images.categories.names[label] for label in labels]
    counts = ", ".join(f"{count} × {name}" for name, count in Counter(names).items())
    shown = names if scores is None else [" ".join(p) for p in zip(names, scores, strict=True)]
    caption = f"{kind}: {counts or 'nothing'}"
    return Picture(drawn(picture, boxes, shown, labels, width=2), caption)
