"""The images of a recipe: small ones in memory, or photographs, with their augmentation."""

from typing import Protocol

from vkd.data.batch_augmentation import PhotographAugmentation
from vkd.data.catalogue import SMALL
from vkd.data.crops import whole
from vkd.data.images import Splits
from vkd.data.photographs import read_photographs
from vkd.data.small import read_small
from vkd.data.sources import PhotographSource
from vkd.data.transforms import (
    evaluation_transform,
    training_changes,
    training_crop,
    training_transform,
)
from vkd.errors import as_user_error
from vkd.inputs import InputFormat


class ImageFields(Protocol):
    """The fields of a recipe that say how images are augmented; see ``vkd.images_config``."""

    crop_padding: int
    flip: bool
    color_jitter: float
    augment_on_device: bool
    train_fraction: float

    # Read alone, as a config names the few values that each of these has.
    @property
    def crop(self) -> str: ...

    @property
    def decoder(self) -> str: ...

    @property
    def augmentation(self) -> str: ...


def read_images(fields: ImageFields, source: PhotographSource, inputs: InputFormat) -> Splits:
    """Return the data of a recipe.

    Args:
        fields: of the recipe.
        source: where the images are; of small ones the data set's name and path.
        inputs: how the student takes photographs; small images are normalised by their own
            statistics.

    Raises:
        UserError: if they are not where the recipe says.
    """
    with as_user_error("data_path"):
        if source.dataset in SMALL:
            return read_small(
                source.dataset,
                source.path,
                fields.crop_padding,
                fields.flip,
                fields.train_fraction,
                fields.augment_on_device,
            )
        is_fast = fields.decoder == "fast"
        transform = (training_changes if is_fast else training_transform)(
            inputs, fields.augmentation, fields.color_jitter, fields.flip, fields.crop,
            fields.augment_on_device,
        )  # fmt: skip
        parts = read_photographs(
            source,
            transform,
            evaluation_transform(inputs),
            training_crop(inputs, fields.crop) if is_fast else whole,
        )
    augmentation = None
    if fields.augment_on_device:
        augmentation = PhotographAugmentation(inputs, fields.augmentation, fields.color_jitter)
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
