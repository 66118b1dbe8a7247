"""Using a trained detector: boxes in image files, and its export."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vkd.config import DetectionConfig
from vkd.data.coco import Categories, default_categories
from vkd.data.detection_transforms import detection_transform
from vkd.data.pictures import open_image
from vkd.detection.drawing import write_drawing
from vkd.detection.predictions import best_detections
from vkd.errors import UserError
from vkd.tasks.detection.task import categories_in, image_size, load_detector


def predict(
    config: DetectionConfig,
    checkpoint: str,
    images: list[str],
    output: str = "",
    threshold: float = 0.5,
) -> list[dict[str, Any]]:
    """Return a record for each image: its detections with category, score and box (corners).

    Args:
        config: the recipe that the checkpoint belongs to.
        checkpoint: weights file or run folder.
        images: files.
        output: folder for the pictures with boxes drawn on them; none when empty.
        threshold: least score of a detection.

    Raises:
        UserError: if a file is not an image, or a picture is there already.
    """
    if not images:
        raise UserError("IMAGE is required: files to look for objects in.")
    files = [Path(image) for image in images]
    drawings = [Path(output) / f"{file.stem}.png" if output else None for file in files]
    for drawing in drawings:
        if drawing is not None and (drawing.exists() or drawings.count(drawing) > 1):
            raise UserError(f"--output: {drawing} exists already or would be written twice.")
    model = load_detector(config, checkpoint).eval()
    categories = categories_in(checkpoint) or default_categories(model.num_classes)  # type: ignore[arg-type]
    prepare = detection_transform(config.short_side, config.long_side)
    records = []
    for file, drawing in zip(files, drawings, strict=True):
        picture = open_image(file)
        with torch.no_grad():
            outputs = model([prepare(picture)])
        (best,) = best_detections(outputs, torch.tensor([[picture.height, picture.width]]))
        found = _named(best, categories, threshold)
        if drawing is not None:
            write_drawing(picture, found, drawing)
        records.append({"image": str(file), "detections": found})
    return records


def _named(
    best: dict[str, Tensor], categories: Categories, threshold: float
) -> list[dict[str, Any]]:
    """Detections of one image as records, best first."""
    rows = zip(
        best["scores"].tolist(), best["labels"].tolist(), best["boxes"].tolist(), strict=True
    )
    return [
        {
            "category": categories.names[label],
            "category_id": categories.ids[label],
            "score": round(score, 4),
            "box": [round(value, 1) for value in box],
        }
        for score, label, box in rows
        if score >= threshold and categories.ids[label] >= 0
    ]


class ExportedDetector(nn.Module):
    """A detector whose inputs and outputs are tensors alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B, D, classes) and boxes (B, D, 4) of a batch and its padding mask."""
        outputs = self.model(images, mask)
        return outputs["pred_logits"], outputs["pred_boxes"]


def exported(
    config: DetectionConfig, checkpoint: str, size: tuple[int, int]
) -> tuple[nn.Module, dict[str, Tensor], list[str]]:
    """Return a detector of tensors alone, an example of its inputs, and its outputs' names."""
    height, width = (given or usual for given, usual in zip(size, image_size(config), strict=True))
    inputs = {
        "images": torch.zeros(2, 3, height, width),
        "mask": torch.zeros(2, height, width, dtype=torch.bool),
    }
    model = ExportedDetector(load_detector(config, checkpoint))
    return model, inputs, ["pred_logits", "pred_boxes"]
