"""Image classification: a student alone, or taught by logits, features or both."""

import json
import time
from pathlib import Path
from typing import Any

import timm
import torch
from accelerate import Accelerator
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.data.mixup import Mixup
from timm.models.deit import VisionTransformerDistilled
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchmetrics.functional.classification import multiclass_stat_scores
from torchvision.transforms import v2

from vkd.baselines import PROJECTIONS, logit_loss
from vkd.config import ClassificationConfig
from vkd.data import READERS, Splits, loader, read_small
from vkd.data.photographs import read_photographs
from vkd.data.pictures import open_image
from vkd.data.transforms import evaluation_transform, training_transform
from vkd.distiller import Distiller, adapter_for
from vkd.errors import UserError
from vkd.loss import FeatureLoss
from vkd.models import create_model, last_layer, read_metadata
from vkd.projection import OrthogonalProjection
from vkd.reporting.model_card import model_facts
from vkd.tasks.projections import saved_projection
from vkd.teacher import NetworkTeacher, Teacher
from vkd.training.task import Task, Turn

Batch = tuple[Tensor, Tensor, Tensor]


class ClassificationModule(nn.Module):
    """A student with its losses: cross-entropy, and the teacher's where they have weight.

    A student with two heads (``set_distilled_training``) learns labels by the first and the
    teacher's logits by the second.

    Args:
        student: the classifier.
        config: weights and kinds of the losses.
        teacher: answers for features and logits; None to train alone.
        example: an image batch to find feature sizes with.
        num_classes: classes, for mixup.
    """

    def __init__(
        self,
        student: nn.Module,
        config: ClassificationConfig,
        teacher: Teacher | None = None,
        example: Tensor | None = None,
        num_classes: int = 10,
    ) -> None:
        super().__init__()
        self.config = config
        self.teacher = teacher
        self.network = student
        if config.channels_last:
            student.to(memory_format=torch.channels_last)
        if teacher is not None and config.feature_weight:
            self.network = Distiller(
                student,
                teacher,
                config.student_layer,
                loss=lambda student_dim, teacher_dim: FeatureLoss(
                    PROJECTIONS[config.projection](student_dim, teacher_dim),
                    config.normalization,
                    config.distance,
                ),
                example=example,
            )
        if isinstance(student, VisionTransformerDistilled):
            student.set_distilled_training(bool(config.logit_weight))
        if config.compile:
            student.compile()
        self._mixup = None
        if config.mixup or config.cutmix:
            self._mixup = Mixup(
                config.mixup,
                config.cutmix,
                label_smoothing=config.label_smoothing,
                num_classes=num_classes,
            )

    @property
    def student(self) -> nn.Module:
        """The classifier alone, as it is deployed."""
        return self.network.student if isinstance(self.network, Distiller) else self.network

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that timm's optimisers must not decay: the projection's, and those
        that the student names."""
        names = {
            f"{name}.parameter"
            for name, module in self.named_modules()
            if isinstance(module, OrthogonalProjection)
        }
        prefix = "network.student." if isinstance(self.network, Distiller) else "network."
        spared: set[str] = getattr(self.student, "no_weight_decay", set)()
        return names | {prefix + name for name in spared}

    def forward(self, batch: Batch | Tensor) -> dict[str, Tensor] | Tensor:
        """Return the weighted loss terms of (images, labels, indices), or images' logits."""
        if isinstance(batch, Tensor):
            return self.student(batch)
        images, labels, indices = batch
        config, terms = self.config, {}
        smoothing = config.label_smoothing
        if self._mixup is not None:
            images, labels = self._mixup(images, labels)
            smoothing = 0.0
        if config.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        teacher_logits = None
        if isinstance(self.network, Distiller):
            logits, feature_loss, teacher_logits = self.network(images, indices)
            terms["feature"] = config.feature_weight * feature_loss
        else:
            logits = self.network(images)
        label_logits, taught_logits = logits if isinstance(logits, tuple) else (logits, logits)
        if self.teacher is not None and config.logit_weight:
            if teacher_logits is None:
                teacher_logits = self.teacher(images, indices).logits
            divergence = logit_loss(taught_logits, teacher_logits, config.temperature)
            terms["logit"] = config.logit_weight * divergence
        terms["label"] = F.cross_entropy(label_logits.float(), labels, label_smoothing=smoothing)
        return terms


class ClassificationTask(Task):
    """Binds student, teacher, images and accuracy; see ``Task``.

    Args:
        config: the recipe, with ``teacher_checkpoint`` set where it has a teacher.

    Raises:
        UserError: if there are no images to train on, or the teacher does not suit them.
    """

    metric = "accuracy"

    def __init__(self, config: ClassificationConfig) -> None:
        self.config = config
        self.splits = read_splits(config)
        if self.splits.train is None:
            raise UserError(f"--data-path {config.data_path} has no folder train.")
        self.model = create_model(
            config.student, **student_shape(config, self.splits.shape, len(self.splits.classes))
        )
        example = torch.zeros(2, *self.splits.shape)
        self.module = ClassificationModule(
            self.model, config, self._teacher(example), example, len(self.splits.classes)
        )
        self.turns = [Turn(self.module)]

    def _teacher(self, example: Tensor) -> NetworkTeacher | None:
        config = self.config
        if not (config.feature_weight or config.logit_weight):
            return None
        model = create_model(config.teacher, config.teacher_checkpoint)
        teacher = NetworkTeacher(
            model, config.teacher_layer or last_layer(model), adapter=adapter_for(self.model, model)
        )
        known, classes = teacher(example).logits.shape[1], len(self.splits.classes)
        if config.logit_weight and known != classes:
            raise UserError(
                f"--teacher {config.teacher} knows {known} classes and the data has {classes}; "
                "logits can be distilled between equal classes only, so set --logit-weight 0."
            )
        return teacher

    def facts(self) -> dict[str, float]:
        """Sizes of the model."""
        return model_facts(self.model, torch.zeros(1, *self.splits.shape))

    def train_loader(self) -> DataLoader:
        """Shuffled batches of the training split."""
        config = self.config
        assert self.splits.train is not None
        return loader(
            self.splits.train,
            config.batch_size,
            shuffle=True,
            workers=config.workers,
            drop_last=True,
            repeats=config.repeated_augmentation,
        )

    def validation_loader(self) -> DataLoader:
        """Batches of the validation split."""
        return evaluation_loader(self.config, self.splits.validation)

    def evaluate(
        self, model: nn.Module, batches: DataLoader, accelerator: Accelerator
    ) -> dict[str, float]:
        """Return top-1 ``accuracy``, ``top5`` (in %) and cross-entropy ``loss``."""
        return evaluate_classifier(model, batches, accelerator)

    def metadata(self) -> dict[str, str]:
        """What using the weights needs to know: class names and how images are prepared."""
        splits = self.splits
        inputs = {"mean": splits.mean, "std": splits.std, "shape": splits.shape}
        return {"classes": json.dumps(splits.classes), "inputs": json.dumps(inputs)}

    def extra_state(self, state: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """The projection's weight, for the report."""
        return saved_projection(state, "network.loss.projection.")


make_task = ClassificationTask


def student_shape(
    config: ClassificationConfig, image: tuple[int, int, int], num_classes: int
) -> dict[str, Any]:
    """Return the keyword arguments that fit the student to images (C, H, W) in so many classes."""
    channels, height, _ = image
    shape: dict[str, Any] = {"num_classes": num_classes, "in_chans": channels}
    known = timm.models.get_pretrained_cfg(config.student, allow_unregistered=True)
    if known is not None and known.fixed_input_size and known.input_size[1] != height:
        shape["img_size"] = height
    if config.drop_path:
        shape["drop_path_rate"] = config.drop_path
    return shape


def evaluation_loader(config: ClassificationConfig, images: Any) -> DataLoader:
    """Batches to evaluate on, in order."""
    return loader(images, max(config.batch_size, 256), workers=config.workers)


@torch.no_grad()
def evaluate_classifier(
    model: nn.Module, batches: DataLoader, accelerator: Accelerator
) -> dict[str, float]:
    """Return top-1 ``accuracy`` and ``top5`` in % and the mean cross-entropy ``loss``.

    Every image counts once, on any number of processes; the label -1 does not count. Where there
    are any such, ``skipped`` tells how many.
    """
    model.eval()
    totals = torch.zeros(5, dtype=torch.float64, device=_wide(accelerator.device))
    for images, labels, _ in batches:
        with accelerator.autocast():
            logits = model(images).float()
        logits, labels = accelerator.gather_for_metrics((logits, labels))
        valid = labels >= 0
        totals[4] += len(labels) - valid.sum()
        logits, labels = logits[valid], labels[valid]
        if len(labels):
            totals[0] += _hits(logits, labels, 1)
            totals[1] += _hits(logits, labels, min(5, logits.shape[1]))
            totals[2] += F.cross_entropy(logits, labels, reduction="sum")
            totals[3] += len(labels)
    top1, top5, loss, count, skipped = totals.tolist()
    if not count:
        raise UserError("None of the images to evaluate on could be read.")
    metrics = {"accuracy": 100 * top1 / count, "top5": 100 * top5 / count, "loss": loss / count}
    return metrics | ({"skipped": skipped} if skipped else {})


def _wide(device: torch.device) -> torch.device:
    """The device, or the CPU where it has no float64."""
    return torch.device("cpu") if device.type == "mps" else device


def _hits(logits: Tensor, labels: Tensor, top_k: int) -> Tensor:
    scores = multiclass_stat_scores(
        logits, labels, num_classes=logits.shape[1], top_k=top_k, average="micro"
    )
    return scores[0]


def read_splits(config: ClassificationConfig) -> Splits:
    """Return the data of a recipe.

    Raises:
        UserError: if they are not where the recipe says.
    """
    if config.dataset in READERS:
        return read_small(
            config.dataset,
            config.data_path,
            config.crop_padding,
            config.flip,
            config.train_fraction,
        )
    size = config.input_size
    train, validation, classes = read_photographs(
        config.dataset,
        config.data_path,
        training_transform(size, config.augmentation, config.color_jitter, config.flip),
        evaluation_transform(size),
        config.max_corrupt,
    )
    return Splits(
        train,
        validation,
        validation,
        IMAGENET_DEFAULT_MEAN,
        IMAGENET_DEFAULT_STD,
        (3, size, size),
        classes,
    )


def evaluate(
    config: ClassificationConfig, checkpoint: str, accelerator: Accelerator
) -> dict[str, float]:
    """Return the test metrics of a checkpoint, a weights file or run folder, and its sizes.

    Raises:
        UserError: if it does not fit the recipe's model.
    """
    splits = read_splits(config)
    model = create_model(
        config.student, checkpoint, **student_shape(config, splits.shape, len(splits.classes))
    )
    facts = model_facts(model, torch.zeros(1, *splits.shape))
    batches = evaluation_loader(config, splits.test)
    model, batches = accelerator.prepare(model, batches)
    began = time.perf_counter()
    metrics = evaluate_classifier(model, batches, accelerator)
    speed = len(splits.test) / (time.perf_counter() - began)  # type: ignore[arg-type]
    return metrics | facts | {"images_per_second": speed}


def predict(
    config: ClassificationConfig, checkpoint: str, images: list[str]
) -> list[dict[str, Any]]:
    """Return the class and its probability for each image file.

    What the checkpoint says of its classes and inputs is followed; without, ImageNet's are taken.

    Raises:
        UserError: if a file is not an image, or the checkpoint does not fit.
    """
    if not images:
        raise UserError("IMAGE is required: files to classify.")
    metadata, shape = read_metadata(checkpoint), {}
    if "inputs" in metadata:
        image, classes = json.loads(metadata["inputs"])["shape"], json.loads(metadata["classes"])
        shape = student_shape(config, image, len(classes))
    model = create_model(config.student, checkpoint, **shape)
    size = getattr(getattr(model, "patch_embed", None), "img_size", (224, 224))
    default = {"mean": IMAGENET_DEFAULT_MEAN, "std": IMAGENET_DEFAULT_STD, "shape": (3, *size)}
    inputs = json.loads(metadata.get("inputs", "null")) or default
    prepare, mode = _preparation(inputs), "L" if inputs["shape"][0] == 1 else "RGB"
    batch = torch.stack([prepare(open_image(Path(file), mode)) for file in images])
    with torch.no_grad():
        probabilities = model.eval()(batch).softmax(1)
    best, indices = probabilities.max(1)
    names = json.loads(metadata.get("classes", "null")) or _imagenet_names(probabilities.shape[1])
    return [
        {"image": file, "class": names[index], "probability": round(score, 4)}
        for file, score, index in zip(images, best.tolist(), indices.tolist(), strict=True)
    ]


def _preparation(inputs: dict[str, Any]) -> v2.Transform:
    channels, height, width = inputs["shape"]
    if channels == 3:
        return evaluation_transform(height)
    return v2.Compose(
        [
            v2.Resize((height, width), interpolation=v2.InterpolationMode.BICUBIC),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(inputs["mean"], inputs["std"]),
            v2.ToPureTensor(),
        ]
    )


def _imagenet_names(count: int) -> list[str]:
    if count != 1000:
        return [str(index) for index in range(count)]
    info = timm.data.ImageNetInfo()
    return [info.index_to_description(index) for index in range(count)]


def exported(
    config: ClassificationConfig, checkpoint: str, size: tuple[int, int]
) -> tuple[nn.Module, dict[str, Tensor], list[str]]:
    """Return the classifier, an example of its inputs, and its output's name."""
    metadata = read_metadata(checkpoint)
    image = tuple(json.loads(metadata["inputs"])["shape"]) if "inputs" in metadata else (3, 0, 0)
    side = config.input_size
    image = (image[0], size[0] or image[1] or side, size[1] or image[2] or side)
    shape = {}
    if "classes" in metadata:
        shape = student_shape(config, image, len(json.loads(metadata["classes"])))
    model = create_model(config.student, checkpoint, **shape)
    return model, {"images": torch.zeros(2, *image)}, ["logits"]
