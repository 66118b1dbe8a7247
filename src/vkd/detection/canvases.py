"""Digits on cluttered canvases: a detection data set in COCO's format, composed in memory."""

from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from vkd.data import digits
from vkd.detection.categories import Categories
from vkd.detection.coco import CocoImages
from vkd.detection.data import Request

SIDE = 64
SIZES = {"train": 3000, "validation": 200, "test": 400}


class DigitCanvases(CocoImages):
    """Canvases (64, 64) of one to four handwritten digits between fragments of others."""

    def __init__(self, canvases: np.ndarray, *rest: Any) -> None:
        super().__init__("", *rest)
        self.canvases = canvases

    def _load_image(self, id: int) -> Image.Image:
        return Image.fromarray(self.canvases[id]).convert("RGB")


def read_digit_canvases(request: Request) -> dict[str, CocoImages]:
    """Return splits of canvases; the digits of train, validation and test are different ones."""
    categories = Categories(list(range(1, 11)), [str(digit) for digit in range(10)])
    return {
        split: DigitCanvases(*_compose_split(split), categories, request.transform_of(split))
        for split in request.splits or SIZES
    }


@cache
def _compose_split(split: str) -> tuple[np.ndarray, dict[str, Any]]:
    position = list(SIZES).index(split)
    *parts, _ = digits.read()
    tensors = parts[position]
    images, labels = (255 * tensors[0][:, 0]).byte().numpy(), tensors[1].numpy()
    random = np.random.default_rng(position)
    canvases: list[np.ndarray] = []
    annotations: list[dict[str, Any]] = []
    for image_id in range(SIZES[split]):
        canvas, objects = _compose(images, labels, random)
        canvases.append(canvas)
        annotations += [
            {
                "id": len(annotations) + 1 + offset,
                "image_id": image_id,
                "category_id": label + 1,
                "bbox": box,
                "area": box[2] * box[3],
                "iscrowd": 0,
            }
            for offset, (label, box) in enumerate(objects)
        ]
    ground_truth = {
        "images": [
            {"id": index, "file_name": f"{index}.png", "height": SIDE, "width": SIDE}
            for index in range(len(canvases))
        ],
        "annotations": annotations,
        "categories": [{"id": digit + 1, "name": str(digit)} for digit in range(10)],
    }
    return np.stack(canvases), ground_truth


def _compose(
    images: np.ndarray, labels: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, list[tuple[int, list[float]]]]:
    canvas = random.normal(40, 12, (SIDE, SIDE)).clip(0, 255)
    for _ in range(random.integers(4, 9)):
        fragment = images[random.integers(len(images))][: random.integers(2, 5), :]
        _paste(canvas, fragment, random.integers(6, 14), random, brightness=0.5)
    taken = np.zeros((SIDE, SIDE), dtype=bool)
    objects = []
    for _ in range(random.integers(1, 5)):
        chosen = random.integers(len(images))
        box = _paste(canvas, images[chosen], random.integers(14, 30), random, taken=taken)
        if box is not None:
            objects.append((int(labels[chosen]), box))
    return canvas.astype(np.uint8), objects


def _paste(
    canvas: np.ndarray,
    glyph: np.ndarray,
    side: int | np.integer,
    random: np.random.Generator,
    brightness: float = 1.0,
    taken: np.ndarray | None = None,
) -> list[float] | None:
    """Draw an enlarged glyph where there is room; return its box (left, top, width, height)."""
    picture = Image.fromarray(glyph).resize((int(side), int(side)), Image.Resampling.BILINEAR)
    values = np.asarray(picture, dtype=np.float64) * brightness
    ink = values > 50 * brightness
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    if not len(rows):
        return None
    values = values[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = values.shape
    for _ in range(10):
        top, left = random.integers(SIDE - height + 1), random.integers(SIDE - width + 1)
        place = (slice(top, top + height), slice(left, left + width))
        if taken is None or not taken[place].any():
            canvas[place] = np.maximum(canvas[place], values)
            if taken is not None:
                taken[place] = True
            return [float(left), float(top), float(width), float(height)]
    return None
