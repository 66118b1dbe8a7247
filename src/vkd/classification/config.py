"""The fields of image classification."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from vkd.config import LabelledImagesConfig
from vkd.data.catalogue import PHOTOGRAPHS, SMALL
from vkd.images_config import ImagesConfig
from vkd.methods.catalogue import NO_METHOD, method_entry


@dataclass(kw_only=True)
class ClassificationConfig(LabelledImagesConfig, ImagesConfig):
    """Fields of image classification.

    Attributes:
        dataset: digits; fashion-mnist; folder for images in train/CLASS and val/CLASS, as
            ImageNet comes; wds for shards of WebDataset; hfds for parquet files or a name on the
            hub of Hugging Face; table for a CSV or Parquet file of paths and labels; cifar100.
        data_path: folder (file or name) of the data, where the data set is not found by itself.
        student_layer: the student's submodule whose output is matched; empty for its last.
        teacher_layer: the teacher's submodule whose output is the target; empty for its last.
        logit_weight: weight of the divergence from the teacher's logits; 0 for none.
        temperature: of that divergence.
        label_loss: cross-entropy with the labels, or binary cross-entropy of each class.
        label_smoothing: of the cross-entropy with the labels.
        label_fraction: share of the training images, drawn by the seed, whose labels are used;
            the others learn from the teacher alone, and are left out where there is none.
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
    """

    task: str = "classification"
    dataset: str = "digits"
    student: str = "conv_vit_digits"
    student_layer: str = ""
    teacher_layer: str = ""
    logit_weight: float = 0.0
    temperature: float = 1.0
    label_loss: Literal["cross_entropy", "binary_cross_entropy"] = "cross_entropy"
    label_smoothing: float = 0.0
    label_fraction: float = 1.0
    mixup: float = 0.0
    cutmix: float = 0.0
    cutmix_min: float = 0.0
    cutmix_max: float = 0.0
    mixup_probability: float = 1.0
    mixup_switch_probability: float = 0.5
    mixup_mode: Literal["batch", "pair", "elem"] = "batch"
    repeated_augmentation: int = 1
    drop_path: float = 0.0

    MOST: ClassVar[dict[str, int]] = {"repeated_augmentation": 1000}
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
            "label_fraction",
        ),
    }  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_at_least(0, "logit_weight", "mixup", "cutmix")
        self.require_at_least(1, "repeated_augmentation")
        self.require("drop_path", 0 <= self.drop_path < 1, "from 0 to below 1")
        self._check_mixing()
        if self.teacher_store:
            is_paired = not self.mixes or self.mixup_mode == "pair"
            self.require("mixup_mode", is_paired, "pair with a store, whose pairs are fixed")
            is_once = self.repeated_augmentation == 1
            self.require("repeated_augmentation", is_once, "1 with a store, which has its views")
        self.require("temperature", self.temperature > 0, "above 0")
        self.require("label_smoothing", 0 <= self.label_smoothing < 1, "from 0 to below 1")
        self._check_labels()
        self.require_choice("dataset", SMALL | PHOTOGRAPHS)
        self.check_read()

    def _check_labels(self) -> None:
        share = self.label_fraction
        self.require("label_fraction", 0 < share <= 1, "above 0 and at most 1")
        self.require("label_fraction", share == 1 or not self.mixes, "1 with mixup or cutmix")

    @property
    def mixes(self) -> bool:
        """Whether training images are mixed."""
        return bool(self.mixup or self.cutmix or self.cutmix_max)

    def _check_mixing(self) -> None:
        low, high = self.cutmix_min, self.cutmix_max
        self.require("cutmix_min", 0 <= low < 1 and (low < high or not low), "below cutmix_max")
        self.require("cutmix_max", 0 <= high <= 1, "from 0 to 1")
        for name in ("mixup_probability", "mixup_switch_probability"):
            self.require(name, 0 <= vars(self)[name] <= 1, "from 0 to 1")
        if not self.mixes:
            of_mixing = {"mixup_probability", "mixup_switch_probability", "mixup_mode"}
            self.require_unread(of_mixing, "neither mixup nor cutmix")
        else:
            self.require("batch_size", self.batch_size % 2 == 0, "even for mixup and cutmix")
        if self.label_loss == "binary_cross_entropy":
            is_hard = not self.label_smoothing
            self.require("label_smoothing", is_hard, "0 with binary_cross_entropy")

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
