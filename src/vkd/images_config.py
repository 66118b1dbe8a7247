"""The fields by which one image a sample is read and augmented, for all tasks that have such."""

from dataclasses import dataclass, fields
from typing import ClassVar, Literal

from vkd.config import DistillationConfig
from vkd.data.catalogue import (
    OPTIONAL_FIELDS,
    PHOTOGRAPHS,
    SMALL,
    SOURCE_FIELDS,
    unread_fields,
)
from vkd.ranges import LARGEST_SIDE

# What small images and photographs read, beside the fields that all do.
SMALL_FIELDS = {"crop_padding", "flip", "train_fraction", "augment_on_device"}
PHOTOGRAPH_FIELDS = {
    "input_size", "crop", "decoder", "evaluation_crop", "augmentation", "color_jitter", "flip",
    "augment_on_device", *SOURCE_FIELDS, *OPTIONAL_FIELDS,
}  # fmt: skip


@dataclass(kw_only=True)
class ImagesConfig(DistillationConfig):
    """Fields of every task whose student takes one image a sample.

    Attributes:
        crop_padding: pixels of padding before a random crop back to size; 0 for no augmentation
            (digits, fashion-mnist).
        flip: mirror half of the training images.
        input_size: side of photographs in pixels (folder, wds, hfds, table).
        crop: random takes 8 to 100 % of a training photograph; simple all of it, resized, with a
            random crop of 4 pixels of reflection.
        decoder: fast decodes large JPEG photographs at 1/2 to 1/8 of their size for training, and
            resizes by torch; exact by Pillow alone, as evaluation always does. Pixels differ by
            less than 1 of 255 in the mean of a photograph.
        evaluation_crop: share of a photograph's side that is evaluated; 0 for the student's own.
        augmentation: three-augment makes each photograph grey, solarised or blurred.
        color_jitter: strength of random changes of colour, for photographs.
        augment_on_device: flip, augmentation, colours and normalisation of training images on the
            device, batch by batch; workers only decode, crop and resize photographs.
        train_fraction: share of the training split to train on (digits, fashion-mnist).
    """

    crop_padding: int = 0
    flip: bool = False
    input_size: int = 224
    crop: Literal["random", "simple"] = "random"
    decoder: Literal["fast", "exact"] = "fast"
    evaluation_crop: float = 0.0
    augmentation: Literal["none", "three-augment"] = "none"
    color_jitter: float = 0.0
    augment_on_device: bool = False
    train_fraction: float = 1.0

    MOST: ClassVar[dict[str, int]] = {"input_size": LARGEST_SIDE, "crop_padding": 1024}
    GROUPS: ClassVar[dict[str, tuple[str, ...]]] = {
        "data": (
            "input_size", "crop", "decoder", "evaluation_crop", "augmentation", "color_jitter",
            "crop_padding", "flip", "augment_on_device", "train_fraction",
        ),
    }  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_at_least(0, "crop_padding", "color_jitter")
        self.require_at_least(1, "input_size")
        self.require("train_fraction", 0 < self.train_fraction <= 1, "above 0 and at most 1")
        self.require("evaluation_crop", 0 <= self.evaluation_crop <= 1, "from 0 to 1")

    @property
    def augments(self) -> bool:
        """Whether training images are read here, and change on their way to the student."""
        if "data" in self.objects:
            return False
        return self.dataset not in SMALL or bool(self.crop_padding or self.flip)

    def check_read(self) -> None:
        """Raise ``FieldError`` for a field that the recipe's data set does not read."""
        every = (SMALL_FIELDS | PHOTOGRAPH_FIELDS) & {item.name for item in fields(self)}
        if "data" in self.objects:
            self.require_unread(every | {"data_path"}, "data given as an object")
            return
        read = SMALL_FIELDS if self.dataset in SMALL else PHOTOGRAPH_FIELDS
        entry = (SMALL | PHOTOGRAPHS).get(self.dataset)
        # What a kind that is found by its files reads is known when it is found.
        unread = every - read | (every & unread_fields(self.dataset) if entry else set())
        if entry and not entry.needs_path:
            unread |= {"data_path"}
        self.require_unread(unread, f"dataset {self.dataset}")
        if not self.augments:
            self.require_unread({"augment_on_device"}, "neither crop_padding nor flip")
