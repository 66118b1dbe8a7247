"""A classifier with its losses."""

import torch
from timm.data.mixup import Mixup
from timm.models.deit import VisionTransformerDistilled
from torch import Tensor, nn
from torch.nn import functional as F

from vkd.baselines import PROJECTIONS, logit_loss
from vkd.config import ClassificationConfig
from vkd.distiller import Distiller
from vkd.errors import blaming
from vkd.loss import FeatureLoss
from vkd.projection import OrthogonalProjection
from vkd.teacher import Teacher

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
            with blaming("--student-layer"):
                self.network = _distiller(student, teacher, config, example)
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
            assert teacher_logits is not None
            divergence = logit_loss(taught_logits, teacher_logits, config.temperature)
            terms["logit"] = config.logit_weight * divergence
        terms["label"] = F.cross_entropy(label_logits.float(), labels, label_smoothing=smoothing)
        return terms


def _distiller(
    student: nn.Module, teacher: Teacher, config: ClassificationConfig, example: Tensor | None
) -> Distiller:
    def loss(student_dim: int, teacher_dim: int) -> FeatureLoss:
        projection = PROJECTIONS[config.projection](student_dim, teacher_dim)
        return FeatureLoss(projection, config.normalization, config.distance)

    return Distiller(student, teacher, config.student_layer, loss=loss, example=example)
