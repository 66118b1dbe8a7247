"""Pictures with boxes, names and scores drawn on them."""

from colorsys import hsv_to_rgb
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torchvision.transforms.v2.functional import pil_to_tensor, to_pil_image
from torchvision.utils import draw_bounding_boxes


def write_drawing(picture: Image.Image, detections: list[dict[str, Any]], file: Path) -> None:
    """Draw ``detections`` (``category``, ``category_id``, ``score``, ``box``) on a picture and
    write it as PNG. A category has the same colour in every picture."""
    drawn = pil_to_tensor(picture)
    if detections:
        drawn = draw_bounding_boxes(
            drawn,
            torch.tensor([found["box"] for found in detections]),
            [f"{found['category']} {found['score']:.2f}" for found in detections],
            [_colour(found["category_id"]) for found in detections],
            width=max(1, min(picture.size) // 200),
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    to_pil_image(drawn).save(file)


def _colour(category: int) -> tuple[int, int, int]:
    # Steps of the golden ratio around the colour circle keep neighbours apart.
    red, green, blue = hsv_to_rgb(category * 0.618 % 1, 0.75, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)
