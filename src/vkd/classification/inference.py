"""Using a trained classifier: its metrics, classes of image files, and its export."""

import json
import time
from collections.abc import Iterator, Sized
from dataclasses import replace
from typing import Any, cast

import timm
import torch
from accelerate import Accelerator
from PIL import Image
from torch import nn

from vkd.classification.config import ClassificationConfig
from vkd.classification.data import read_splits, student_format
from vkd.classification.names import places_of_labels
from vkd.classification.spec import ClassificationPrediction
from vkd.classification.task import evaluate_classifier, evaluation_loader
from vkd.data.prediction import answer_in_batches
from vkd.data.transforms import IMAGENET, prediction_transform
from vkd.errors import FieldError, UserError, reason_of, shortened
from vkd.inputs import InputFormat
from vkd.models.checkpoints import Checkpoint, load_checkpoint
from vkd.models.cost import model_cost
from vkd.models.factory import create_model, fitting_options
from vkd.models.metadata import check_count
from vkd.notes import say
from vkd.training.spec import NoOptions
from vkd.training.task import Exported, Objects


def evaluate(
    config: ClassificationConfig,
    checkpoint: Checkpoint,
    accelerator: Accelerator,
    options: NoOptions,
    objects: Objects,
) -> dict[str, float]:
    """Return the test metrics of a checkpoint, and its cost.

    Raises:
        UserError: if it does not fit the recipe's model, or has other classes than the data.
    """
    splits = objects.data or read_splits(config, input_format(config, checkpoint))
    if splits.readers and "test" not in splits.readers:
        say(config.data_path, ["evaluated on the validation split, as there is no test split"])
    # The network is the checkpoint's; the data may have other classes.
    model = _model(config, checkpoint, objects, splits.shape, len(checkpoint.classes))
    example = torch.zeros(1, *splits.shape)
    with torch.no_grad():
        outputs = model(example).shape[1]
    places = places_of_labels(splits.classes, checkpoint.classes, outputs, checkpoint.file)
    cost = model_cost(model, example)
    batches = evaluation_loader(config, splits.test, splits.classes)
    model, batches = accelerator.prepare(model, batches)
    began = time.perf_counter()
    metrics = evaluate_classifier(model.eval(), batches, accelerator, places)
    speed = len(cast(Sized, splits.test)) / (time.perf_counter() - began)
    return metrics | cost | {"images_per_second": speed}


def input_format(config: ClassificationConfig, checkpoint: Checkpoint) -> InputFormat:
    """Return how a checkpoint's model takes images.

    As its file says; else as the model is published, at the size of the weights; else as
    the recipe has it.
    """
    if checkpoint.inputs:
        found = InputFormat.from_dict(checkpoint.inputs)
        found = found if found.size else replace(found, size=student_format(config).size)
        # Files of earlier versions say nothing of the crop, which photographs had.
        is_former = "crop" not in checkpoint.inputs and found.channels == IMAGENET.channels
        crop = IMAGENET.crop if is_former else found.crop
        return replace(found, crop=config.evaluation_crop or crop)
    side = checkpoint.options.get("img_size")
    found = student_format(config)
    return found if side is None else replace(found, size=(side, side))


def _model(
    config: ClassificationConfig,
    checkpoint: Checkpoint,
    objects: Objects,
    shape: tuple[int, ...] = (),
    classes: int = 0,
) -> nn.Module:
    """The checkpoint's network, in eval mode; the weights determine what is not given."""
    if objects.student is not None:
        return load_checkpoint(objects.student, checkpoint).eval()
    options = fitting_options(config.student, shape, classes) if shape else {}
    if not classes:
        options.pop("num_classes", None)
    return create_model(config.student, checkpoint, **options).eval()


def predict(
    config: ClassificationConfig,
    checkpoint: Checkpoint,
    images: list[str],
    options: ClassificationPrediction,
    objects: Objects,
) -> Iterator[dict[str, Any]]:
    """Return the class and its probability for each image file, one by one.

    Classes and inputs are the checkpoint's; ImageNet's where it names none. A file that cannot be
    read has an ``error``.

    Raises:
        UserError: if the checkpoint does not fit.
    """
    if not images:
        raise UserError("IMAGE is required: files to classify.")
    if options.output:
        raise FieldError("output", f"must end in .jsonl or .csv, found {options.output}.")
    model = _model(config, checkpoint, objects)
    inputs = input_format(config, checkpoint)
    outputs = _outputs(model, inputs, checkpoint)
    names = checkpoint.classes or _imagenet_names(outputs)
    check_count(names, outputs, "classes", checkpoint.file)
    prepare, mode = prediction_transform(inputs), "L" if inputs.channels == 1 else "RGB"

    def answer(files: list[str], pictures: list[Image.Image]) -> list[dict[str, Any]]:
        with torch.no_grad():
            probabilities = model(torch.stack([prepare(picture) for picture in pictures]))
        best, indices = probabilities.softmax(1).max(1)
        return [
            {"image": file, "class": names[index], "probability": round(score, 4)}
            for file, score, index in zip(files, best.tolist(), indices.tolist(), strict=True)
        ]

    return answer_in_batches(images, options.batch_size, answer, mode)


def _outputs(model: nn.Module, inputs: InputFormat, checkpoint: Checkpoint) -> int:
    """How many outputs a classifier has, tried with an image of the format."""
    shape = (inputs.channels, *(inputs.size or (1, 1)))
    try:
        with torch.no_grad():
            return model(torch.zeros(1, *shape)).shape[1]
    except (AssertionError, RuntimeError, ValueError) as error:
        source = "as its metadata inputs say" if checkpoint.inputs else "its file names no others"
        raise UserError(
            f"{shortened(checkpoint.file, 120)}: its model does not take images {shape}, {source}: "
            f"{shortened(reason_of(error), 90)}."
        ) from None


def _imagenet_names(count: int) -> list[str]:
    if count != 1000:
        return [str(index) for index in range(count)]
    info = timm.data.ImageNetInfo()
    return [info.index_to_description(index) for index in range(count)]


def export_inputs(
    config: ClassificationConfig, checkpoint: Checkpoint, size: tuple[int, int], objects: Objects
) -> Exported:
    """Return the classifier with its classes, where it has names of them, and its input format.

    Args:
        config: the recipe that the checkpoint belongs to.
        checkpoint: the weights.
        size: (height, width) of the images; 0 for that of training.
        objects: the student, where it is given as an object.
    """
    inputs = input_format(config, checkpoint)
    usual = cast(tuple[int, int], inputs.size)
    height, width = (given or own for given, own in zip(size, usual, strict=True))
    shape = (inputs.channels, height, width)
    fitting = (shape, len(checkpoint.classes)) if checkpoint.classes else ()
    model = _model(config, checkpoint, objects, *fitting)
    prepared = replace(inputs, size=(height, width)).as_dict() | {"shape": shape}
    metadata = {"inputs": json.dumps(prepared)}
    if checkpoint.classes:
        metadata["classes"] = json.dumps(checkpoint.classes)
    return Exported(model, {"images": torch.zeros(2, *shape)}, ["logits"], metadata)
