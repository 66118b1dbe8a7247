"""Pictures with boxes, names and scores drawn on them."""

import json
from collections.abc import Sequence
from colorsys import hsv_to_rgb
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor, to_pil_image
from torchvision.utils import draw_bounding_boxes

from vkd.errors import FieldError
from vkd.picture_files import save_png
from vkd.places import check_folder

_MADE_BY = "vkd predict"


def new_drawings(images: Sequence[str], folder: str, settings: dict[str, Any]) -> dict[str, Path]:
    """Return the file of each image's drawing; none without a folder.

    Images of the same name get numbers.

    Args:
        images: names of picture files.
        folder: for the drawings.
        settings: what decides a drawing beside its image, see ``write_drawing``.

    Raises:
        FieldError: if a file is there that was not drawn from the same image with the same
            settings.
    """
    drawings: dict[str, Path] = {}
    taken: set[Path] = set()
    if folder:
        check_folder(Path(folder), "output")
    for image in dict.fromkeys(images) if folder else ():
        stem, number = Path(folder) / Path(image).stem, 1
        while (file := stem.with_name(f"{stem.name}{f'-{number}' * (number > 1)}.png")) in taken:
            number += 1
        taken.add(file)
        if file.exists() and _made_by(file) != settings | {"image": image}:
            raise FieldError("output", f": {file} exists already; name a new folder.")
        drawings[image] = file
    return drawings


def _made_by(file: Path) -> Any:
    try:
        with Image.open(file, formats=["PNG"]) as drawn:
            return json.loads(drawn.info[_MADE_BY])
    except (OSError, KeyError, TypeError, ValueError):
        return None


def write_drawing(
    picture: Image.Image, detections: list[dict[str, Any]], file: Path, settings: dict[str, Any]
) -> None:
    """Draw detections on a picture and write it as PNG.

    A category has the same colour in every picture.

    Args:
        picture: the image.
        detections: each with ``category``, ``category_id``, ``score`` and ``box``.
        file: to write.
        settings: what decides the drawing, kept in it, so that it can be made again.
    """
    shown = drawn(
        picture,
        torch.tensor([found["box"] for found in detections]).view(-1, 4),
        [f"{found['category']} {found['score']:.2f}" for found in detections],
        [found["category_id"] for found in detections],
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    save_png(shown, file, {_MADE_BY: json.dumps(settings)})


def drawn(
    picture: Image.Image,
    boxes: Tensor,
    names: list[str],
    categories: list[int],
    width: int = 0,
) -> Image.Image:
    """Return a picture with boxes (K, 4), corners in pixels, and their names drawn on it.

    Lines have a ``width`` in pixels; 0 for one that suits the picture.
    """
    if not len(boxes):
        return picture
    shown = draw_bounding_boxes(
        pil_to_tensor(picture),
        boxes,
        names,
        [_colour(category) for category in categories],
        width=width or max(1, min(picture.size) // 200),
    )
    return to_pil_image(shown)


def _colour(category: int) -> tuple[int, int, int]:
    # Steps of the golden ratio around the colour circle keep neighbours apart.
    red, green, blue = hsv_to_rgb(category * 0.618 % 1, 0.75, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)
