"""The images of a classification recipe."""

from dataclasses import replace

from torch import nn

from vkd.classification.config import ClassificationConfig
from vkd.data.batch_augmentation import PhotographAugmentation
from vkd.data.catalogue import SMALL
from vkd.data.crops import whole
from vkd.data.images import Splits
from vkd.data.photographs import read_photographs
from vkd.data.small import read_small
from vkd.data.sources import PhotographSource
from vkd.data.transforms import (
    IMAGENET,
    evaluation_transform,
    training_changes,
    training_crop,
    training_transform,
)
from vkd.errors import as_user_error
from vkd.inputs import InputFormat
from vkd.models.factory import published_config


def read_splits(config: ClassificationConfig, inputs: InputFormat) -> Splits:
    """Return the data of a recipe.

    Args:
        config: the recipe.
        inputs: how the student takes photographs; small images are normalised by their own
            statistics.

    Raises:
        UserError: if they are not where the recipe says.
    """
    with as_user_error("data_path"):
        if config.dataset in SMALL:
            return read_small(
                config.dataset,
                config.data_path,
                config.crop_padding,
                config.flip,
                config.train_fraction,
                config.augment_on_device,
            )
        is_fast = config.decoder == "fast"
        transform = (training_changes if is_fast else training_transform)(
            inputs, config.augmentation, config.color_jitter, config.flip, config.crop,
            config.augment_on_device,
        )  # fmt: skip
        parts = read_photographs(
            PhotographSource.of(config),
            transform,
            evaluation_transform(inputs),
            training_crop(inputs, config.crop) if is_fast else whole,
        )
    augmentation = None
    if config.augment_on_device:
        augmentation = PhotographAugmentation(inputs, config.augmentation, config.color_jitter)
    return Splits(
        parts.train,
        parts.validation,
        parts.test,
        inputs,
        parts.classes,
        augmentation=augmentation,
        readers=parts.readers,
        notes=parts.notes,
    )


def student_format(config: ClassificationConfig, student: nn.Module | None = None) -> InputFormat:
    """Return how a student takes photographs: as it is published, at the recipe's size.

    Args:
        config: the recipe.
        student: given as an object.
    """
    published = InputFormat.from_pretrained_cfg(published_config(student or config.student))
    if published is None or published.channels != IMAGENET.channels:
        published = IMAGENET
    return fitted(published, config)


def fitted(inputs: InputFormat, config: ClassificationConfig) -> InputFormat:
    """Return an input format of the recipe's size and evaluated share."""
    size = (config.input_size, config.input_size)
    return replace(inputs, size=size, crop=config.evaluation_crop or inputs.crop)
