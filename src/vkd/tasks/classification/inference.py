"""Using a trained classifier: classes of image files, and its export."""

import json
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn
from torchvision.transforms import v2

from vkd.config import ClassificationConfig
from vkd.data.pictures import open_image
from vkd.data.transforms import evaluation_transform
from vkd.errors import UserError
from vkd.models import create_model, read_metadata
from vkd.tasks.classification.task import student_shape


def predict(
    config: ClassificationConfig, checkpoint: str, images: list[str]
) -> list[dict[str, Any]]:
    """Return the class and its probability for each image file.

    What the checkpoint says of its classes and inputs is followed; without, ImageNet's are taken.

    Raises:
        UserError: if a file is not an image, or the checkpoint does not fit.
    """
    if not images:
        raise UserError("IMAGE is required: files to classify.")
    metadata, shape = read_metadata(checkpoint), {}
    if "inputs" in metadata:
        image, classes = json.loads(metadata["inputs"])["shape"], json.loads(metadata["classes"])
        shape = student_shape(config, image, len(classes))
    model = create_model(config.student, checkpoint, **shape)
    size = getattr(getattr(model, "patch_embed", None), "img_size", (224, 224))
    default = {"mean": IMAGENET_DEFAULT_MEAN, "std": IMAGENET_DEFAULT_STD, "shape": (3, *size)}
    inputs = json.loads(metadata.get("inputs", "null")) or default
    prepare, mode = _preparation(inputs), "L" if inputs["shape"][0] == 1 else "RGB"
    batch = torch.stack([prepare(open_image(Path(file), mode)) for file in images])
    with torch.no_grad():
        probabilities = model.eval()(batch).softmax(1)
    best, indices = probabilities.max(1)
    names = json.loads(metadata.get("classes", "null")) or _imagenet_names(probabilities.shape[1])
    return [
        {"image": file, "class": names[index], "probability": round(score, 4)}
        for file, score, index in zip(images, best.tolist(), indices.tolist(), strict=True)
    ]


def _preparation(inputs: dict[str, Any]) -> v2.Transform:
    channels, height, width = inputs["shape"]
    if channels == 3:
        return evaluation_transform(height)
    return v2.Compose(
        [
            v2.Resize((height, width), interpolation=v2.InterpolationMode.BICUBIC),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(inputs["mean"], inputs["std"]),
            v2.ToPureTensor(),
        ]
    )


def _imagenet_names(count: int) -> list[str]:
    if count != 1000:
        return [str(index) for index in range(count)]
    info = timm.data.ImageNetInfo()
    return [info.index_to_description(index) for index in range(count)]


def exported(
    config: ClassificationConfig, checkpoint: str, size: tuple[int, int]
) -> tuple[nn.Module, dict[str, Tensor], list[str]]:
    """Return the classifier, an example of its inputs, and its output's name."""
    metadata = read_metadata(checkpoint)
    image = tuple(json.loads(metadata["inputs"])["shape"]) if "inputs" in metadata else (3, 0, 0)
    side = config.input_size
    image = (image[0], size[0] or image[1] or side, size[1] or image[2] or side)
    shape = {}
    if "classes" in metadata:
        shape = student_shape(config, image, len(json.loads(metadata["classes"])))
    model = create_model(config.student, checkpoint, **shape)
    return model, {"images": torch.zeros(2, *image)}, ["logits"]
