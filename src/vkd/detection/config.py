"""The fields of object detection."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from vkd.config import DistillationConfig, Normalization
from vkd.data.catalogue import MOST_CLASSES
from vkd.detection.catalogue import DETECTION_DATASETS
from vkd.ranges import LARGEST_SIDE


@dataclass(kw_only=True)
class DetectionConfig(DistillationConfig):
    """Fields of object detection.

    Attributes:
        dataset: coco for any folder in COCO's format, yolo for YOLO's (data.yaml, images/ and
            labels/), voc for Pascal VOC's (XML files); digits-detection composes its own.
        student: name of the detector to train.
        architecture: vidt, or vidt_wo_neck to read boxes off the body's tokens.
        num_classes: classes of the student; 0 for those of the data.
        num_det_tokens: detection tokens of the student, the most objects that it finds in an image;
            0 for the model's own number.
        fusion: fuse the maps of all scales before the neck.
        box_refinement: decoder layers refine the boxes of the layer before.
        auxiliary_losses: also train the outputs of earlier layers.
        iou_weight: weight of predicting each box's overlap; 0 for no such head.
        token_label_weight: weight of predicting the classes of patches from masks; 0 for none.
        backbone_checkpoint: Swin weights to start from, a file, or hub for timm's.
        backbone_lr: learning rate of the backbone as a share of lr.
        drop_path: stochastic depth of the backbone.
        student_options: other keyword arguments of the student, for example {num_layers: 4,
            cross_stages: [2, 3], num_heads: 8, num_points: 4, position_dim: 256, dim: 256,
            dropout: 0.1}.
        projection: map from the student's to the teacher's tokens; identity for none.
        normalization: of both sides' tokens.
        feature_weight: weight of the token loss; 0 for none.
        class_weight: weight of the focal loss, or of cross-entropy without a neck.
        no_object_weight: weight of "no object" in cross-entropy.
        box_weight: weight of the L1 distance of boxes.
        giou_weight: weight of the generalised IoU loss.
        class_cost: weight of the class when predictions are matched with objects.
        box_cost: likewise of the L1 distance of boxes.
        giou_cost: likewise of the generalised IoU.
        focal_alpha: alpha of the focal loss and cost.
        augmentation: detr varies size and crop; flip mirrors half of the images.
        short_side: pixels of the shorter side of images; 0 for their own size.
        long_side: most pixels of the longer side.
    """

    task: str = "detection"
    dataset: str = "coco"
    student: str = "vidt_nano"
    architecture: Literal["vidt", "vidt_wo_neck"] = "vidt"
    num_classes: int = 0
    num_det_tokens: int = 0
    fusion: bool = False
    box_refinement: bool = True
    auxiliary_losses: bool = True
    iou_weight: float = 0.0
    token_label_weight: float = 0.0
    backbone_checkpoint: str = ""
    backbone_lr: float = 1.0
    drop_path: float = 0.0
    student_options: dict[str, Any] = field(default_factory=dict)
    normalization: Normalization = "standardize"
    class_weight: float = 2.0
    no_object_weight: float = 0.1
    box_weight: float = 5.0
    giou_weight: float = 2.0
    class_cost: float = 2.0
    box_cost: float = 5.0
    giou_cost: float = 2.0
    focal_alpha: float = 0.25
    augmentation: Literal["none", "flip", "detr"] = "detr"
    short_side: int = 800
    long_side: int = 1333

    MOST: ClassVar[dict[str, int]] = {
        # As many as a head is built for without a thought for its memory.
        "num_classes": MOST_CLASSES, "num_det_tokens": 10_000,
        "short_side": LARGEST_SIDE, "long_side": LARGEST_SIDE,
    }  # fmt: skip
    STARTS: ClassVar[tuple[str, ...]] = (*DistillationConfig.STARTS, "backbone_checkpoint")
    GROUPS: ClassVar[dict[str, tuple[str, ...]]] = {
        "data": ("dataset", "data_path", "augmentation", "short_side", "long_side"),
        "student": (
            "student", "architecture", "num_classes", "num_det_tokens", "fusion",
            "box_refinement", "backbone_checkpoint", "backbone_lr", "drop_path",
            "student_options",
        ),
        "method": (
            "method", "method_options", "projection", "normalization", "distance",
            "feature_weight", "class_weight", "no_object_weight", "box_weight",
            "giou_weight", "iou_weight", "token_label_weight", "auxiliary_losses", "class_cost",
            "box_cost", "giou_cost", "focal_alpha",
        ),
    }  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_at_least(
            0, "class_weight", "no_object_weight", "box_weight", "giou_weight", "iou_weight",
            "token_label_weight", "class_cost", "box_cost", "giou_cost", "backbone_lr",
            "short_side", "num_classes", "num_det_tokens",
        )  # fmt: skip
        self.require("focal_alpha", 0 <= self.focal_alpha <= 1, "from 0 to 1")
        self.require("drop_path", 0 <= self.drop_path < 1, "from 0 to below 1")
        self.require("long_side", self.long_side >= self.short_side, "at least short_side")
        # Of the focal loss, and of the cross-entropy that takes its place without a neck.
        idle = {"vidt": "no_object_weight", "vidt_wo_neck": "focal_alpha"}[self.architecture]
        self.require_unread({idle}, f"architecture {self.architecture}")
        if self.architecture == "vidt_wo_neck":
            parts = {
                "feature_weight": self.feature_weight,
                "fusion": self.fusion,
                "iou_weight": self.iou_weight,
                "token_label_weight": self.token_label_weight,
            }
            for name, value in parts.items():
                self.require(name, not value, "off with vidt_wo_neck")
        if "student" in self.objects:
            self.require_unread(
                {"num_classes", "num_det_tokens", "student_options"}, "a student given as an object"
            )
        self.require_choice("dataset", DETECTION_DATASETS)
        entry = DETECTION_DATASETS[self.dataset]
        if not entry.needs_path:
            of_folders = {"data_path", "image_folder", "validation_fraction", "max_corrupt"}
            self.require_unread(of_folders, f"dataset {self.dataset}")
        if not entry.has_masks:
            self.require("token_label_weight", not self.token_label_weight, "0 without masks")

    @classmethod
    def upgraded(cls, values: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """Return recipe fields under today's names; ``method`` was the architecture's."""
        values, notes = super().upgraded(values)
        if values.get("method") in ("vidt", "vidt_wo_neck"):
            values["architecture"] = values.pop("method")
            notes.append(
                "method vidt or vidt_wo_neck is now architecture; taken as architecture: "
                f"{values['architecture']!r}"
            )
        return values, notes

    def loss_weights(self) -> dict[str, float]:
        """Return the weight of each kind of detection loss."""
        return {
            "class": self.class_weight,
            "box": self.box_weight,
            "giou": self.giou_weight,
            "iou": self.iou_weight,
        }
