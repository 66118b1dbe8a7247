"""Image classification: a student alone, or taught by logits, features or both."""

from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from PIL import Image, UnidentifiedImageError
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchmetrics.functional.classification import multiclass_stat_scores
from torchvision.transforms import v2

from vkd.baselines import PROJECTIONS, logit_loss
from vkd.config import ClassificationConfig
from vkd.data import Splits, load_splits, loader
from vkd.distiller import Distiller
from vkd.errors import UserError
from vkd.loss import FeatureLoss
from vkd.models import create_model
from vkd.projection import OrthogonalProjection
from vkd.teacher import NetworkTeacher, Teacher

Batch = tuple[Tensor, Tensor, Tensor]


class ClassificationModule(nn.Module):
    """A student with its losses: cross-entropy, and the teacher's where they have weight.

    Args:
        student: the classifier.
        config: weights and kinds of the losses.
        teacher: answers for features and logits; None to train alone.
        example: an image batch to find feature sizes with.
    """

    def __init__(
        self,
        student: nn.Module,
        config: ClassificationConfig,
        teacher: Teacher | None = None,
        example: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.teacher = teacher
        self.network = student
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

    @property
    def student(self) -> nn.Module:
        """The classifier alone, as it is deployed."""
        return self.network.student if isinstance(self.network, Distiller) else self.network

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that timm's optimisers must not decay: the projection's."""
        return {
            f"{name}.parameter"
            for name, module in self.named_modules()
            if isinstance(module, OrthogonalProjection)
        }

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the weighted loss terms of (images, labels, indices)."""
        images, labels, indices = batch
        config, terms = self.config, {}
        teacher_logits = None
        if isinstance(self.network, Distiller):
            logits, feature_loss, teacher_logits = self.network(images, indices)
            terms["feature"] = config.feature_weight * feature_loss
        else:
            logits = self.network(images)
        if self.teacher is not None and config.logit_weight:
            if teacher_logits is None:
                teacher_logits = self.teacher(images, indices).logits
            divergence = logit_loss(logits, teacher_logits, config.temperature)
            terms["logit"] = config.logit_weight * divergence
        terms["label"] = F.cross_entropy(
            logits.float(), labels, label_smoothing=config.label_smoothing
        )
        return terms


class ClassificationTask:
    """Binds student, teacher, images and accuracy; see ``vkd.training.task.Task``.

    Args:
        config: the recipe, with ``teacher_checkpoint`` set where it has a teacher.
    """

    metric = "accuracy"

    def __init__(self, config: ClassificationConfig) -> None:
        self.config = config
        self.splits = read_splits(config)
        self.model = create_model(config.student)
        example = self.splits.validation.images[:2]
        self.module = ClassificationModule(self.model, config, self._teacher(), example)

    def _teacher(self) -> NetworkTeacher | None:
        config = self.config
        if not (config.feature_weight or config.logit_weight):
            return None
        model = create_model(config.teacher, config.teacher_checkpoint)
        return NetworkTeacher(model, config.teacher_layer)

    def train_loader(self) -> DataLoader:
        """Shuffled batches of the training split."""
        config = self.config
        return loader(
            self.splits.train,
            config.batch_size,
            shuffle=True,
            workers=config.workers,
            drop_last=True,
        )

    def validation_loader(self) -> DataLoader:
        """Batches of the validation split."""
        return loader(self.splits.validation, 512)

    def evaluate(
        self, model: nn.Module, batches: DataLoader, accelerator: Accelerator
    ) -> dict[str, float]:
        """Return top-1 ``accuracy``, ``top5`` (in %) and cross-entropy ``loss``."""
        return evaluate_classifier(model, batches, accelerator)

    def extra_state(self) -> dict[str, dict[str, Tensor]]:
        """The projection's weight, for the report."""
        if not isinstance(self.module.network, Distiller):
            return {}
        projection = self.module.network.loss.projection
        weight = getattr(projection, "weight", None)
        return {} if weight is None else {"projection": {"weight": weight}}


@torch.no_grad()
def evaluate_classifier(
    model: nn.Module, batches: DataLoader, accelerator: Accelerator
) -> dict[str, float]:
    """Return top-1 ``accuracy`` and ``top5`` in % and the mean cross-entropy ``loss``.

    Every image counts once, on any number of processes.
    """
    model.eval()
    totals = torch.zeros(4, device=accelerator.device)
    for images, labels, _ in batches:
        logits, labels = accelerator.gather_for_metrics((model(images), labels))
        totals[0] += _hits(logits, labels, 1)
        totals[1] += _hits(logits, labels, min(5, logits.shape[1]))
        totals[2] += F.cross_entropy(logits.float(), labels, reduction="sum")
        totals[3] += len(labels)
    top1, top5, loss, count = totals.tolist()
    return {"accuracy": 100 * top1 / count, "top5": 100 * top5 / count, "loss": loss / count}


def _hits(logits: Tensor, labels: Tensor, top_k: int) -> Tensor:
    scores = multiclass_stat_scores(
        logits, labels, num_classes=logits.shape[1], top_k=top_k, average="micro"
    )
    return scores[0]


def read_splits(config: ClassificationConfig) -> Splits:
    """Return the data of a recipe."""
    return load_splits(
        config.dataset, config.data_path, config.crop_padding, config.flip, config.train_fraction
    )


def predict_images(model: nn.Module, splits: Splits, files: list[Path]) -> list[dict[str, Any]]:
    """Return the class and its probability for each image file.

    Files are read in grey, resized to the model's size and normalised as in training.

    Raises:
        UserError: if a file is not an image.
    """
    size = splits.test.images.shape[-2:]
    images = torch.stack([_read_image(file, size) for file in files])
    with torch.no_grad():
        probabilities = model.eval()((images - splits.mean) / splits.std).softmax(1)
    best, classes = probabilities.max(1)
    return [
        {"image": str(file), "class": splits.classes[index], "probability": round(score, 4)}
        for file, score, index in zip(files, best.tolist(), classes.tolist(), strict=True)
    ]


def _read_image(file: Path, size: torch.Size) -> Tensor:
    try:
        with Image.open(file) as image:
            grey = image.convert("L").resize((size[1], size[0]), Image.Resampling.BICUBIC)
    except FileNotFoundError:
        raise UserError(f"There is no image {file}.") from None
    except UnidentifiedImageError:
        raise UserError(f"{file} is not an image.") from None
    return v2.functional.to_dtype(v2.functional.to_image(grey), torch.float32, scale=True)
