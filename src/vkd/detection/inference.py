"""Using a trained detector: its metrics, and boxes in image files."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from PIL import Image
from torch import Tensor

from vkd.data.prediction import answer_in_batches
from vkd.detection.categories import Categories, default_categories
from vkd.detection.coco import CocoImages, detection_loader
from vkd.detection.config import DetectionConfig
from vkd.detection.data import read_detection
from vkd.detection.drawing import new_drawings, write_drawing
from vkd.detection.onnx_detector import DetectorOfFile
from vkd.detection.postprocess import best_detections
from vkd.detection.spec import DetectionEvaluation, DetectionPrediction
from vkd.detection.task import SIZES, detector_cost, evaluate_detector
from vkd.detection.transforms import DETECTOR_FORMAT, detection_transform
from vkd.errors import UserError
from vkd.files import write_whole
from vkd.inputs import InputFormat
from vkd.models.checkpoints import Checkpoint, load_checkpoint
from vkd.models.factory import create_model
from vkd.models.metadata import check_count
from vkd.models.vidt.detector import ViDT, ViDTWithoutNeck
from vkd.notes import say
from vkd.places import check_new_file
from vkd.training.task import Objects


def evaluate(
    config: DetectionConfig,
    checkpoint: Checkpoint,
    accelerator: Accelerator,
    options: DetectionEvaluation,
    objects: Objects,
) -> dict[str, float]:
    """Return the test metrics of a checkpoint, and its cost.

    Raises:
        UserError: if the checkpoint does not fit, or the file of predictions is there already.
    """
    predictions = Path(options.predictions) if options.predictions else None
    if predictions is not None:
        check_new_file(predictions, "predictions")
    model = load_detector(config, checkpoint, objects)
    images: CocoImages
    if objects.data:
        images = objects.data["test"]
    else:
        known = categories_in(checkpoint, model.num_classes)
        images = read_detection(
            config, known, num_classes=model.num_classes, inputs=input_format(config, checkpoint)
        )["test"]
    cost = detector_cost(model, config)
    batches = detection_loader(images, config.batch_size, workers=config.workers)
    network, batches = accelerator.prepare(model, batches)
    began = time.perf_counter()
    results = evaluate_detector(network.eval(), batches, accelerator, images, model.softmax)
    speed = len(images) / (time.perf_counter() - began)
    if predictions is not None and accelerator.is_main_process:
        predictions.parent.mkdir(parents=True, exist_ok=True)
        write_whole(predictions, json.dumps(images.original.restored(results.records)))
    return results.metrics | cost | {"images_per_second": speed}


def load_detector(
    config: DetectionConfig, checkpoint: Checkpoint, objects: Objects | None = None
) -> ViDT | ViDTWithoutNeck:
    """Return the detector of a checkpoint, whose file determines all options."""
    if checkpoint.network is not None:
        return cast(ViDT, DetectorOfFile(checkpoint.network))
    if objects is not None and objects.student is not None:
        return cast(ViDT, load_checkpoint(objects.student, checkpoint))
    return cast(ViDT, create_model(config.student, checkpoint))


def input_format(config: DetectionConfig, checkpoint: Checkpoint) -> InputFormat:
    """Return how a checkpoint's detector takes images, as its file says.

    Their size is the recipe's; where that is another than in training, it is said.
    """
    saved = checkpoint.inputs
    now = {name: vars(config)[name] for name in SIZES}
    before = {name: saved.get(name, size) for name, size in now.items()}
    if before != now:
        say(checkpoint.file, [f"trained with {before}, shown images with {now}"])
    return InputFormat.from_dict(saved) if saved else DETECTOR_FORMAT


def _categories(checkpoint: Checkpoint, model: ViDT | ViDTWithoutNeck) -> Categories:
    """The classes that a checkpoint names; else what is usual for as many."""
    return categories_in(checkpoint, model.num_classes) or default_categories(model.num_classes)


def categories_in(checkpoint: Checkpoint, num_classes: int) -> Categories | None:
    """Return the classes that a checkpoint names, if it does.

    Raises:
        UserError: if these are not as many as its detector has.
    """
    saved = checkpoint.metadata.get("categories")
    if not saved:
        return None
    found = Categories(**json.loads(saved))
    check_count(found.names, num_classes, "categories", checkpoint.file)
    return found


def predict(
    config: DetectionConfig,
    checkpoint: Checkpoint,
    images: list[str],
    options: DetectionPrediction,
    objects: Objects,
) -> Iterator[dict[str, Any]]:
    """Return the detections of each image file, with category, score and box (corners).

    Records come one by one; a file that cannot be read has an ``error``.

    Raises:
        UserError: if the checkpoint does not fit, or a picture to draw is there already.
    """
    if not images:
        raise UserError("IMAGE is required: files to look for objects in.")
    settings = {"checkpoint": str(checkpoint.file), "threshold": options.threshold}
    drawings = new_drawings(images, options.output, settings)
    model = load_detector(config, checkpoint, objects).eval()
    categories = categories_in(checkpoint, model.num_classes) or default_categories(
        model.num_classes
    )
    inputs = input_format(config, checkpoint)
    prepare = detection_transform(config.short_side, config.long_side, inputs)

    def answer(files: list[str], pictures: list[Image.Image]) -> list[dict[str, Any]]:
        sizes = torch.tensor([[picture.height, picture.width] for picture in pictures])
        with torch.no_grad():
            outputs = model([prepare(picture) for picture in pictures])
        records = []
        every = best_detections(outputs, sizes, softmax=model.softmax)
        for file, picture, best in zip(files, pictures, every, strict=True):
            found = _named(best, categories, options.threshold)
            if file in drawings:
                write_drawing(picture, found, drawings[file], settings | {"image": file})
            records.append({"image": file, "detections": found})
        return records

    return answer_in_batches(images, options.batch_size, answer)


def _named(
    best: dict[str, Tensor], categories: Categories, threshold: float
) -> list[dict[str, Any]]:
    """Detections of one image as records, best first."""
    order = best["scores"].argsort(descending=True)
    rows = zip(*(best[name][order].tolist() for name in ("scores", "labels", "boxes")), strict=True)
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
