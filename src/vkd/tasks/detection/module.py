"""A detector with its losses."""

from typing import Any

import torch
from torch import Tensor, nn

from vkd.config import DetectionConfig
from vkd.data.coco import (
    Batch,
)
from vkd.detection.distillation import TokenLoss, TokenTeacher
from vkd.detection.losses import detection_losses, token_label_loss
from vkd.methods.projections import PROJECTIONS
from vkd.models.vidt.detector import ViDT, pad_images


class DetectionModule(nn.Module):
    """A detector with its losses, the teacher's tokens among them where they have weight.

    Args:
        student: the detector.
        config: weights and kinds of the losses.
        teacher: answers with tokens; None to train alone.
    """

    def __init__(
        self, student: nn.Module, config: DetectionConfig, teacher: TokenTeacher | None = None
    ) -> None:
        super().__init__()
        self.config, self.student, self.teacher = config, student, teacher
        self.token_loss: TokenLoss | None = None
        if teacher is not None:
            assert isinstance(student, ViDT)
            self.token_loss = TokenLoss(
                PROJECTIONS[config.projection],
                student.dim,
                teacher.model.dim,
                normalization=config.normalization,
                distance=config.distance,
            )
        if config.compile:
            student.compile()

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that timm's optimisers must not decay: those the student names, and
        projections."""
        spared = {f"student.{name}" for name in self.student.no_weight_decay()}  # type: ignore[operator]
        return spared | {n for n, _ in self.named_parameters() if n.startswith("token_loss.")}

    def lr_scale(self, name: str) -> float:
        """The share of the learning rate of a parameter; detection tokens are no backbone's."""
        is_body = name.startswith("student.backbone.") and ".det_" not in name
        return self.config.backbone_lr if is_body else 1.0

    def forward(self, batch: Batch | Any) -> dict[str, Any]:
        """Return the weighted loss terms of a batch, or what the student says of images alone."""
        if not isinstance(batch, dict):
            return self.student(batch)
        config, targets = self.config, batch["targets"]
        images, mask = pad_images(batch["images"])
        if self.token_loss is None:
            outputs = self.student(images, mask)
        else:
            outputs = self.student(images, mask, with_tokens=True)
        terms = _weighted(detection_losses(outputs, targets), config)
        if config.token_label_weight:
            terms["patch"] = config.token_label_weight * token_label_loss(outputs, targets)
        if self.token_loss is not None:
            assert self.teacher is not None
            known = self.teacher(images, mask)
            terms["feature"] = config.feature_weight * self.token_loss(outputs["tokens"], known)
        return terms


def _weighted(losses: dict[str, Tensor], config: DetectionConfig) -> dict[str, Tensor]:
    """The sum over layers of each kind of loss, weighted.

    Without auxiliary losses earlier layers keep a weight of 0, so that every parameter still has
    a gradient, which DDP asks for.
    """
    terms: dict[str, Tensor] = {}
    for name, loss in losses.items():
        kind, _, layer = name.partition("_")
        weight = getattr(config, f"{kind}_weight")
        weight = weight if config.auxiliary_losses or not layer else 0.0
        terms[kind] = terms.get(kind, torch.zeros_like(loss)) + weight * loss
    return terms
