"""The fields of image classification."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from vkd.config import LabelledImagesConfig
from vkd.data.catalogue import (
    OPTIONAL_FIELDS,
    PHOTOGRAPHS,
    SMALL,
    SOURCE_FIELDS,
    unread_fields,
)
from vkd.methods.catalogue import NO_METHOD, method_entry

# What small images and photographs read, beside the fields that all do.
SMALL_FIELDS = {"crop_padding", "flip", "train_fraction", "augment_on_device"}
PHOTOGRAPH_FIELDS = {
    "input_size", "crop", "decoder", "evaluation_crop", "augmentation", "color_jitter", "flip",
    "augment_on_device", *SOURCE_FIELDS, *OPTIONAL_FIELDS,
}  # fmt: skip


@dataclass(kw_only=True)
class ClassificationConfig(LabelledImagesConfig):
    """Fields of image classification.

    Attributes:
        dataset: digits; fashion-mnist; folder for images in train/CLASS and val/CLASS, as
            ImageNet comes; wds for shards of WebDataset; hfds for parquet files or a name on the
            hub of Hugging Face; table for a CSV or Parquet file of paths and labels; cifar100.
        data_path: folder (file or name) of the data, where the data set is not found by itself.
        student: name of the model to train, of `vkd models` or timm.
        student_layer: the student's submodule whose output is matched.
        teacher_layer: the teacher's submodule whose output is the target; empty for its last.
        logit_weight: weight of the divergence from the teacher's logits; 0 for none.
        temperature: of that divergence.
        label_loss: cross-entropy with the labels, or binary cross-entropy of each class.
        label_smoothing: of the cross-entropy with the labels.
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
        mixup: alpha of mixup; 0 for none.
        cutmix: alpha of cutmix.
        cutmix_min: smallest side of cutmix's patch, as a share of the image's.
        cutmix_max: largest side, in place of sides drawn by alpha; 0 for these.
        mixup_probability: share of batches, pairs or images that are mixed.
        mixup_switch_probability: of these, the share that cutmix gets where mixup is on as well.
        mixup_mode: whether a batch, each pair or each image is mixed by a strength of its own; a
            store needs pair.
        repeated_augmentation: augmented views of an image in an epoch.
        drop_path: stochastic depth of the student.
        train_fraction: share of the training split to train on (digits, fashion-mnist).
    """

    task: str = "classification"
    dataset: str = "digits"
    student: str = "conv_vit_digits"
    student_layer: str = "norm"
    teacher_layer: str = ""
    logit_weight: float = 0.0
    temperature: float = 1.0
    label_loss: Literal["cross_entropy", "binary_cross_entropy"] = "cross_entropy"
    label_smoothing: float = 0.0
    crop_padding: int = 0
    flip: bool = False
    input_size: int = 224
    crop: Literal["random", "simple"] = "random"
    decoder: Literal["fast", "exact"] = "fast"
    evaluation_crop: float = 0.0
    augmentation: Literal["none", "three-augment"] = "none"
    color_jitter: float = 0.0
    augment_on_device: bool = False
    mixup: float = 0.0
    cutmix: float = 0.0
    cutmix_min: float = 0.0
    cutmix_max: float = 0.0
    mixup_probability: float = 1.0
    mixup_switch_probability: float = 0.5
    mixup_mode: Literal["batch", "pair", "elem"] = "batch"
    repeated_augmentation: int = 1
    drop_path: float = 0.0
    train_fraction: float = 1.0

    COMPARABLE: ClassVar[tuple[str, ...]] = ("features", "logits")
    GROUPS: ClassVar[dict[str, tuple[str, ...]]] = {
        "data": (
            "dataset", "data_path", "input_size", "crop", "decoder", "evaluation_crop",
            "augmentation", "color_jitter", "crop_padding", "flip", "augment_on_device", "mixup",
            "cutmix", "cutmix_min", "cutmix_max", "mixup_probability",
            "mixup_switch_probability", "mixup_mode", "repeated_augmentation", "train_fraction",
        ),
        "student": ("student", "student_layer", "drop_path"),
        "teacher": (
            "teacher", "teacher_layer", "teacher_checkpoint", "teacher_recipe",
            "teacher_precision", "teacher_store",
        ),
        "method": (
            "method", "method_options", "projection", "normalization", "distance",
            "feature_weight", "logit_weight", "temperature", "label_loss", "label_smoothing",
        ),
    }  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_at_least(0, "logit_weight", "crop_padding", "color_jitter", "mixup", "cutmix")
        self.require_at_least(1, "input_size", "repeated_augmentation")
        self.require("drop_path", 0 <= self.drop_path < 1, "from 0 to below 1")
        self._check_mixing()
        if self.teacher_store:
            is_paired = not self.mixes or self.mixup_mode == "pair"
            self.require("mixup_mode", is_paired, "pair with a store, whose pairs are fixed")
            is_once = self.repeated_augmentation == 1
            self.require("repeated_augmentation", is_once, "1 with a store, which has its views")
        self.require("temperature", self.temperature > 0, "above 0")
        self.require("train_fraction", 0 < self.train_fraction <= 1, "above 0 and at most 1")
        self.require("label_smoothing", 0 <= self.label_smoothing < 1, "from 0 to below 1")
        self._check_read()

    @property
    def mixes(self) -> bool:
        """Whether training images are mixed."""
        return bool(self.mixup or self.cutmix or self.cutmix_max)

    @property
    def augments(self) -> bool:
        """Whether training images are read here, and change on their way to the student."""
        if "data" in self.objects:
            return False
        return self.dataset not in SMALL or bool(self.crop_padding or self.flip)

    def _check_mixing(self) -> None:
        low, high = self.cutmix_min, self.cutmix_max
        self.require("cutmix_min", 0 <= low < 1 and (low < high or not low), "below cutmix_max")
        self.require("cutmix_max", 0 <= high <= 1, "from 0 to 1")
        for name in ("mixup_probability", "mixup_switch_probability", "evaluation_crop"):
            self.require(name, 0 <= vars(self)[name] <= 1, "from 0 to 1")
        if not self.mixes:
            of_mixing = {"mixup_probability", "mixup_switch_probability", "mixup_mode"}
            self.require_unread(of_mixing, "neither mixup nor cutmix")
        else:
            self.require("batch_size", self.batch_size % 2 == 0, "even for mixup and cutmix")
        if self.label_loss == "binary_cross_entropy":
            is_hard = not self.label_smoothing
            self.require("label_smoothing", is_hard, "0 with binary_cross_entropy")

    def _check_read(self) -> None:
        every = SMALL_FIELDS | PHOTOGRAPH_FIELDS
        datasets = SMALL | PHOTOGRAPHS
        self.require_choice("dataset", datasets)
        if "data" in self.objects:
            self.require_unread(every | {"data_path"}, "data given as an object")
        else:
            read = SMALL_FIELDS if self.dataset in SMALL else PHOTOGRAPH_FIELDS
            path = {"data_path"} if datasets[self.dataset].needs_path else set()
            unread = ((every | {"data_path"}) - read - path) | unread_fields(self.dataset)
            self.require_unread(unread, f"dataset {self.dataset}")
            if not self.augments:
                self.require_unread({"augment_on_device"}, "neither crop_padding nor flip")

    @property
    def needs_teacher(self) -> bool:
        """Whether a loss of the recipe compares with a teacher."""
        return self.feature_weight > 0 or self.logit_weight > 0

    @property
    def compares_features(self) -> bool:
        """Whether a loss of the recipe compares features."""
        return self.feature_weight > 0

    @property
    def logit_method(self) -> str:
        """The method that compares logits; beside a method of features the plain divergence."""
        is_own = self.method != NO_METHOD and method_entry(self.method).compares == "logits"
        return self.method if is_own else "kd"

    def method_values(self) -> dict[str, Any]:
        """Return the recipe's fields that methods may take as options."""
        return super().method_values() | {"temperature": self.temperature}
