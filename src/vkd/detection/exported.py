"""What is exported of a detector, and pictures to try it on."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace

import torch
from PIL import Image
from torch import Tensor, nn

from vkd.data.samples import OpenSamples, Samples, nearest_split, readable
from vkd.detection.categories import default_categories
from vkd.detection.config import DetectionConfig
from vkd.detection.data import read_detection
from vkd.detection.inference import categories_in, input_format, load_detector
from vkd.detection.onnx_detector import on_canvas
from vkd.detection.task import SIZES, image_size
from vkd.detection.transforms import detection_transform
from vkd.models.checkpoints import Checkpoint
from vkd.training.task import Exported, Objects


class DetectorOfTensors(nn.Module):
    """A detector whose inputs and outputs are tensors alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B, D, classes) and boxes (B, D, 4) of a batch and its padding mask."""
        outputs = self.model(images, mask)
        return outputs["pred_logits"], outputs["pred_boxes"]


def export_inputs(
    config: DetectionConfig, checkpoint: Checkpoint, size: tuple[int, int], objects: Objects
) -> Exported:
    """Return a detector of tensors alone, with its categories and how images are prepared.

    Args:
        config: the recipe that the checkpoint belongs to.
        checkpoint: the weights.
        size: (height, width) of the canvas; 0 for that of the recipe.
        objects: the student, where it is given as an object.
    """
    height, width = (given or usual for given, usual in zip(size, image_size(config), strict=True))
    inputs = {
        "images": torch.zeros(2, 3, height, width),
        "mask": torch.zeros(2, height, width, dtype=torch.bool),
    }
    model = load_detector(config, checkpoint, objects)
    categories = categories_in(checkpoint, model.num_classes) or default_categories(
        model.num_classes
    )
    usual = input_format(config, checkpoint)
    transform = detection_transform(config.short_side, config.long_side, usual)

    def prepare(pictures: Sequence[Image.Image]) -> dict[str, Tensor]:
        images, mask = on_canvas([transform(picture) for picture in pictures], (height, width))
        return {"images": images, "mask": mask}

    sides = {name: vars(config)[name] for name in SIZES}
    prepared = replace(usual, size=(height, width)).as_dict() | sides
    metadata = {
        "categories": json.dumps(asdict(categories)),
        "inputs": json.dumps(prepared),
        "scores": "softmax" if model.softmax else "sigmoid",
    }
    outputs = ["pred_logits", "pred_boxes"]
    return Exported(DetectorOfTensors(model), inputs, outputs, metadata, prepare)


def open_samples(config: DetectionConfig) -> OpenSamples:
    """Return ``(split, count) -> Samples`` of pictures, evenly spread over the split.

    Raises:
        UserError: if the data cannot be read.
    """
    splits = read_detection(config, splits=())

    def samples(split: str, count: int) -> Samples:
        found = nearest_split(split, splits)
        images = splits[found]
        return Samples(found, readable(len(images), count, images.picture, images.source))

    return samples
