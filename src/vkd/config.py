"""What a run is made of: the fields of a recipe, which are also the flags of `vkd train`.

Imports nothing heavy, so that the command line can check flags before it loads torch.
"""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import yaml

from vkd.errors import UserError, nearest

RECIPES = Path(__file__).parent / "recipes"


@dataclass(kw_only=True)
class TrainingConfig:
    """Fields that every task has.

    Attributes:
        task: which task the recipe belongs to.
        seed: of weights, data order and augmentation.
        epochs: passes over the training set.
        batch_size: images per process and step.
        accumulation: steps whose gradients are averaged before the weights change.
        optimizer: any optimiser name of timm.
        beta1: decay of the mean gradient, of optimisers like Adam.
        lr: peak learning rate, for a step of lr_reference_batch images.
        lr_reference_batch: the rate grows with the images of a step, over all processes and
            accumulated batches, divided by this; 0 for a rate that does not depend on them.
        weight_decay: on matrices; never on biases, norms and projections.
        schedule: any schedule name of timm, stepped after every update.
        warmup_epochs: linear warm-up from a hundredth of lr.
        min_lr: learning rate at the end.
        clip_grad: largest norm of the gradient; 0 for no clipping.
        ema_decay: decay of the averaged weights that are evaluated and saved; 0 for none.
        mixed_precision: arithmetic of the networks; projections and losses stay in float32.
        device: auto takes CUDA, then MPS, then the CPU.
        compile: compile the student with torch.compile.
        channels_last: keep images and convolutions in the layout that is fast on GPUs.
        workers: processes that load data.
        checkpoint_every: epochs between checkpoints to resume from; the last is always kept.
        evaluate_every: epochs between evaluations; the last epoch is always evaluated.
        rollbacks: times to go back to the last checkpoint after an epoch that went wrong.
        tensorboard: also write TensorBoard files.
    """

    task: str
    seed: int = 0
    epochs: int = 10
    batch_size: int = 64
    accumulation: int = 1
    optimizer: str = "adamw"
    beta1: float = 0.9
    lr: float = 1e-3
    lr_reference_batch: int = 0
    weight_decay: float = 0.05
    schedule: str = "cosine"
    warmup_epochs: int = 0
    min_lr: float = 0.0
    clip_grad: float = 0.0
    ema_decay: float = 0.0
    mixed_precision: Literal["no", "fp16", "bf16"] = "no"
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    compile: bool = False
    channels_last: bool = False
    workers: int = 0
    checkpoint_every: int = 1
    evaluate_every: int = 1
    rollbacks: int = 0
    tensorboard: bool = True

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulation", "checkpoint_every", "evaluate_every"):
            self._require(name, getattr(self, name) >= 1, "at least 1")
        for name in ("lr", "weight_decay", "warmup_epochs", "min_lr", "clip_grad", "workers",
                     "rollbacks"):  # fmt: skip
            self._require(name, getattr(self, name) >= 0, "at least 0")
        self._require("lr_reference_batch", self.lr_reference_batch >= 0, "at least 0")
        self._require("beta1", 0 <= self.beta1 < 1, "from 0 to below 1")
        self._require("ema_decay", 0 <= self.ema_decay < 1, "from 0 to below 1")
        self._require("warmup_epochs", self.warmup_epochs < self.epochs, "below epochs")

    def _require(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            flag = "--" + name.replace("_", "-")
            raise UserError(f"{flag} must be {expected}, found {getattr(self, name)}.")


@dataclass(kw_only=True)
class ClassificationConfig(TrainingConfig):
    """Fields of image classification.

    Attributes:
        dataset: digits; fashion-mnist; folder for images in train/CLASS and val/CLASS, as
            ImageNet comes; wds for shards of WebDataset; hfds for parquet files or a name on the
            hub of Hugging Face.
        data_path: folder (or name) of the data, where the data set is not found by itself.
        student: name of the model to train, of `vkd models` or timm.
        student_layer: the student's submodule whose output is matched.
        teacher: name of the teacher; empty to train alone.
        teacher_layer: the teacher's submodule whose output is the target; empty for its last.
        teacher_checkpoint: the teacher's weights or run folder; hub for those timm publishes.
        teacher_recipe: trains the teacher first when no teacher_checkpoint is given.
        teacher_store: folder of `vkd cache`, whose answers take the teacher's place.
        projection: map from the student's to the teacher's features.
        normalization: of the teacher's features.
        distance: between projected and normalised features.
        feature_weight: weight of the feature loss; 0 for none.
        logit_weight: weight of the KL divergence to the teacher's logits; 0 for none.
        temperature: of that divergence.
        label_smoothing: of the cross-entropy with the labels.
        crop_padding: pixels of padding before a random crop back to size; 0 for no augmentation.
        flip: mirror half of the training images.
        input_size: side of photographs in pixels.
        augmentation: three-augment makes each photograph grey, solarised or blurred.
        color_jitter: strength of random changes of colour, for photographs.
        mixup: alpha of mixup; 0 for none.
        cutmix: alpha of cutmix; where mixup is on as well, each is used for half of the batches.
        repeated_augmentation: augmented views of an image in an epoch.
        drop_path: stochastic depth of the student.
        max_corrupt: unreadable images to put up with.
        train_fraction: share of the training split to train on (digits, fashion-mnist).
    """

    task: str = "classification"
    dataset: Literal["digits", "fashion-mnist", "folder", "wds", "hfds"] = "digits"
    data_path: str = ""
    student: str = "conv_vit_digits"
    student_layer: str = "norm"
    teacher: str = ""
    teacher_layer: str = ""
    teacher_checkpoint: str = ""
    teacher_recipe: str = ""
    teacher_store: str = ""
    projection: Literal["orthogonal", "linear", "mlp"] = "orthogonal"
    normalization: Literal["layer_norm", "standardize", "whiten", "identity"] = "layer_norm"
    distance: Literal["smooth_l1", "l1", "mse"] = "smooth_l1"
    feature_weight: float = 0.0
    logit_weight: float = 0.0
    temperature: float = 1.0
    label_smoothing: float = 0.0
    crop_padding: int = 0
    flip: bool = False
    input_size: int = 224
    augmentation: Literal["none", "three-augment"] = "none"
    color_jitter: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    repeated_augmentation: int = 1
    drop_path: float = 0.0
    max_corrupt: int = 100
    train_fraction: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("feature_weight", "logit_weight", "crop_padding", "color_jitter", "mixup",
                     "cutmix", "max_corrupt"):  # fmt: skip
            self._require(name, getattr(self, name) >= 0, "at least 0")
        for name in ("input_size", "repeated_augmentation"):
            self._require(name, getattr(self, name) >= 1, "at least 1")
        self._require("drop_path", 0 <= self.drop_path < 1, "from 0 to below 1")
        if self.mixup or self.cutmix:
            self._require("batch_size", self.batch_size % 2 == 0, "even for mixup and cutmix")
        if self.teacher_store:
            for name in ("mixup", "cutmix"):
                self._require(name, not getattr(self, name), "0 with a store, which knows no mixes")
            is_once = self.repeated_augmentation == 1
            self._require("repeated_augmentation", is_once, "1 with a store, which has its views")
        self._require("temperature", self.temperature > 0, "above 0")
        self._require("train_fraction", 0 < self.train_fraction <= 1, "above 0 and at most 1")
        self._require("label_smoothing", 0 <= self.label_smoothing < 1, "from 0 to below 1")
        if self.feature_weight or self.logit_weight:
            self._require("teacher", bool(self.teacher), "a model's name when distilling")


@dataclass(kw_only=True)
class DetectionConfig(TrainingConfig):
    """Fields of object detection.

    Attributes:
        dataset: coco for any folder in COCO's format; digits-detection composes its own.
        data_path: folder of the data.
        student: name of the detector to train.
        method: vidt, or vidt_wo_neck to read boxes off the body's tokens.
        num_classes: classes of the student; 0 for those of the data.
        fusion: fuse the maps of all scales before the neck.
        box_refinement: decoder layers refine the boxes of the layer before.
        auxiliary_losses: also train the outputs of earlier layers.
        iou_weight: weight of predicting each box's overlap; 0 for no such head.
        token_label_weight: weight of predicting the classes of patches from masks; 0 for none.
        backbone_checkpoint: Swin weights to start from, a file, or hub for timm's.
        backbone_lr: learning rate of the backbone as a share of lr.
        drop_path: stochastic depth of the backbone.
        teacher: name of the teacher; empty to train alone.
        teacher_checkpoint: the teacher's weights or run folder.
        teacher_recipe: trains the teacher first when no teacher_checkpoint is given.
        projection: map from the student's to the teacher's tokens; identity for none.
        normalization: of both sides' tokens.
        distance: between them.
        feature_weight: weight of the token loss; 0 for none.
        class_weight: weight of the focal loss.
        box_weight: weight of the L1 distance of boxes.
        giou_weight: weight of the generalised IoU loss.
        augmentation: detr varies size and crop; flip mirrors half of the images.
        short_side: pixels of the shorter side of images; 0 for their own size.
        long_side: most pixels of the longer side.
    """

    task: str = "detection"
    dataset: Literal["coco", "digits-detection"] = "coco"
    data_path: str = ""
    student: str = "vidt_nano"
    method: Literal["vidt", "vidt_wo_neck"] = "vidt"
    num_classes: int = 0
    fusion: bool = False
    box_refinement: bool = True
    auxiliary_losses: bool = True
    iou_weight: float = 0.0
    token_label_weight: float = 0.0
    backbone_checkpoint: str = ""
    backbone_lr: float = 1.0
    drop_path: float = 0.0
    teacher: str = ""
    teacher_checkpoint: str = ""
    teacher_recipe: str = ""
    projection: Literal["orthogonal", "linear", "mlp", "identity"] = "orthogonal"
    normalization: Literal["layer_norm", "standardize", "whiten", "identity"] = "standardize"
    distance: Literal["smooth_l1", "l1", "mse"] = "smooth_l1"
    feature_weight: float = 0.0
    class_weight: float = 2.0
    box_weight: float = 5.0
    giou_weight: float = 2.0
    augmentation: Literal["none", "flip", "detr"] = "detr"
    short_side: int = 800
    long_side: int = 1333

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("feature_weight", "class_weight", "box_weight", "giou_weight", "iou_weight",
                     "token_label_weight", "backbone_lr", "short_side", "num_classes"):  # fmt: skip
            self._require(name, getattr(self, name) >= 0, "at least 0")
        self._require("drop_path", 0 <= self.drop_path < 1, "from 0 to below 1")
        self._require("long_side", self.long_side >= self.short_side, "at least short_side")
        if self.feature_weight:
            self._require("teacher", bool(self.teacher), "a detector's name when distilling")
        if self.method == "vidt_wo_neck":
            for name in ("feature_weight", "fusion", "iou_weight", "token_label_weight"):
                self._require(name, not getattr(self, name), "off with vidt_wo_neck")


@dataclass(kw_only=True)
class GenerationConfig(TrainingConfig):
    """Fields of image generation.

    Attributes:
        dataset: digits; fashion-mnist; cifar10 or cifar100, which torchvision downloads; folder
            and hfds as in classification.
        data_path: folder of the data, where they are not found by themselves.
        fraction: share of the training images to train on.
        subset_seed: of the choice of these.
        model: the generator; its discriminator comes with it.
        channels: a quarter of the width of both.
        noise_dim: numbers that an image is made from.
        generator_every: updates of the discriminator for one of the generator.
        diff_augment: augment all that the discriminator sees, differentiably.
        flip: mirror half of the training images.
        teacher: name of the frozen vision network; empty for a GAN alone.
        teacher_layer: the teacher's submodule whose output is the target; empty for its last.
        teacher_pool: layout of its output.
        teacher_checkpoint: its weights or run folder; hub for those timm publishes.
        teacher_recipe: trains the teacher first when no teacher_checkpoint is given.
        projection: map from the discriminator's to the teacher's features.
        normalization: of the teacher's features.
        whitening: what whitening takes its statistics of: each batch, as the paper does, or the
            data once, which batches smaller than the number of features need.
        distance: between projected and normalised features.
        feature_weight: weight of the feature loss; 0 for none.
        extractor: whose features metrics are taken on; inception for FID as others report it.
        extractor_checkpoint: its weights or run folder.
        extractor_recipe: trains the extractor first when no extractor_checkpoint is given.
        samples: images that metrics are taken on.
    """

    task: str = "generation"
    dataset: Literal["digits", "fashion-mnist", "cifar10", "cifar100", "folder", "hfds"] = "digits"
    data_path: str = ""
    fraction: float = 1.0
    subset_seed: int = 0
    model: str = "biggan"
    channels: int = 96
    noise_dim: int = 128
    generator_every: int = 1
    diff_augment: bool = True
    flip: bool = False
    teacher: str = ""
    teacher_layer: str = ""
    teacher_pool: Literal["auto", "NCHW", "NHWC", "NLC", "token"] = "auto"
    teacher_checkpoint: str = ""
    teacher_recipe: str = ""
    projection: Literal["orthogonal", "linear", "mlp"] = "orthogonal"
    normalization: Literal["layer_norm", "standardize", "whiten", "identity"] = "whiten"
    whitening: Literal["batch", "data"] = "batch"
    distance: Literal["smooth_l1", "l1", "mse"] = "smooth_l1"
    feature_weight: float = 0.0
    extractor: str = "inception"
    extractor_checkpoint: str = ""
    extractor_recipe: str = ""
    samples: int = 10000

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("channels", "noise_dim", "generator_every"):
            self._require(name, getattr(self, name) >= 1, "at least 1")
        self._require("channels", self.channels % 2 == 0, "even")
        self._require("samples", self.samples >= 100, "at least 100")
        self._require("feature_weight", self.feature_weight >= 0, "at least 0")
        self._require("fraction", 0 < self.fraction <= 1, "above 0 and at most 1")
        if self.feature_weight:
            self._require("teacher", bool(self.teacher), "a model's name when distilling")
            self._require("batch_size", self.batch_size >= 2, "at least 2 when distilling")
        if self.extractor != "inception":
            told = self.extractor_checkpoint or self.extractor_recipe
            self._require("extractor_checkpoint", bool(told), "given with a local extractor")


CONFIGS: dict[str, type[TrainingConfig]] = {
    "classification": ClassificationConfig,
    "detection": DetectionConfig,
    "generation": GenerationConfig,
}


def recipe_names() -> list[str]:
    """Names of the recipes in the package."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def read_recipe(name: str) -> dict[str, Any]:
    """Return the fields of a recipe, given by name or as the path of a YAML file.

    Raises:
        UserError: for an unknown name, an unreadable file, or a field that no task has.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else RECIPES / f"{name}.yaml"
    if not path.is_file():
        raise UserError(f"There is no recipe {name!r}{nearest(name, recipe_names())}")
    try:
        values = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {str(error).splitlines()[0]}.") from None
    if not isinstance(values, dict) or values.get("task") not in CONFIGS:
        raise UserError(f"{path} must have a field task, one of {', '.join(CONFIGS)}.")
    known = [field.name for field in fields(CONFIGS[values["task"]])]
    for key in values:
        if key not in known:
            raise UserError(f"{path} has an unknown field {key!r}{nearest(key, known)}")
    return values


def config_of(values: dict[str, Any]) -> TrainingConfig:
    """Build the config of a recipe's fields."""
    return CONFIGS[values["task"]](**values)


def write_recipe(config: TrainingConfig, path: Path) -> None:
    """Write every field of ``config`` as a recipe that gives it back."""
    path.write_text(yaml.safe_dump(asdict(config), sort_keys=False))
