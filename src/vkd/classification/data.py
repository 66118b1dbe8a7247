"""The images of a classification recipe."""

from torch import nn

from vkd.classification.config import ClassificationConfig
from vkd.data.catalogue import PHOTOGRAPHS
from vkd.data.image_splits import read_images
from vkd.data.images import Splits
from vkd.data.sources import PhotographSource
from vkd.data.transforms import IMAGENET
from vkd.inputs import InputFormat
from vkd.models.photographs import photograph_format


def read_splits(config: ClassificationConfig, inputs: InputFormat) -> Splits:
    """Return the data of a recipe; see ``vkd.data.image_splits.read_images``."""
    return read_images(config, PhotographSource.of(config), inputs)


def student_format(config: ClassificationConfig, student: nn.Module | None = None) -> InputFormat:
    """Return how a student takes photographs: as it is published, at the recipe's size.

    Args:
        config: the recipe.
        student: given as an object.
    """
    name = config.objects.get("student", config.student) if config.dataset in PHOTOGRAPHS else ""
    network = student or config.student
    return photograph_format(network, IMAGENET, config.input_size, config.evaluation_crop, name)
