"""A detector with its losses."""

import torch
from torch import Tensor

from vkd.detection.coco import Batch
from vkd.detection.config import DetectionConfig
from vkd.detection.losses import class_error, detection_losses, predictions_of, token_label_loss
from vkd.detection.matching import Rules, match
from vkd.detection.objects import counts_of, mean_count, objects_of
from vkd.detection.tokens import TokenLoss, TokenTeacher
from vkd.methods.method import explained_by
from vkd.models.vidt.detector import ViDT, ViDTWithoutNeck, pad_images
from vkd.training.task import TrainingModule


class DetectionModule(TrainingModule):
    """A detector with its losses, the token loss among them where there is a teacher.

    Args:
        student: the detector.
        config: weights and kinds of the losses.
        teacher: gives tokens; None to train alone.
        token_loss: compares them with the student's.
    """

    def __init__(
        self,
        student: ViDT | ViDTWithoutNeck,
        config: DetectionConfig,
        teacher: TokenTeacher | None = None,
        token_loss: TokenLoss | None = None,
    ) -> None:
        super().__init__()
        self.config, self.student, self.teacher = config, student, teacher
        self.token_loss = token_loss
        self.rules = Rules(
            class_cost=config.class_cost,
            box_cost=config.box_cost,
            giou_cost=config.giou_cost,
            alpha=config.focal_alpha,
            softmax=student.softmax,
            no_object_weight=config.no_object_weight,
        )
        self._measures: dict[str, Tensor] = {}
        if config.channels_last:
            student.to(memory_format=torch.channels_last)
        self._detection_losses = detection_losses
        if config.compile:
            self._compile()

    def _compile(self) -> None:
        self.student.compile()
        self._detection_losses = torch.compile(detection_losses)
        if self.teacher is not None and self.token_loss is not None:
            self.teacher.model.compile()
            self.token_loss.compile()

    def undecayed(self) -> set[str]:
        """Return the token loss's parameters, and those the student names."""
        parts = () if self.token_loss is None else ("token_loss",)
        return self.parameters_in(*parts) | super().undecayed()

    def never_decayed(self) -> set[str]:
        """Return what is no matrix of the body."""
        prefix = "student.backbone."
        flat = {name for name, p in self.named_parameters() if p.ndim < 2}
        tables = self.undecayed_in("student")
        return {name for name in flat | tables if name.startswith(prefix)}

    def lr_scale(self, name: str) -> float:
        """Return the share of the learning rate; detection tokens are no backbone's."""
        is_body = name.startswith("student.backbone.") and ".det_" not in name
        return self.config.backbone_lr if is_body else 1.0

    def measures(self) -> dict[str, Tensor]:
        """Return ``class_error`` in %, and the unweighted losses of each layer that counts.

        Those of the last layer have the kind's name alone; others have the layer's number, from 0,
        as in ``box.0``.
        """
        return self._measures

    def explained(self) -> dict[str, Tensor]:
        """Return what the method explains of each set of tokens; see ``TrainingModule``."""
        return {} if self.token_loss is None else explained_by(dict(self.token_loss.losses))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the weighted loss terms of a batch of ``images`` and ``targets``."""
        config, targets = self.config, batch["targets"]
        images, mask = pad_images(batch["images"])
        if config.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        # First, as what it takes to compute is free again before the student keeps its maps.
        target_tokens = None if self.teacher is None else self.teacher(images, mask)
        if self.token_loss is None:
            outputs = self.student(images, mask)
        else:
            outputs = self.student(images, mask, with_tokens=True)
        found, objects, counts = predictions_of(outputs), objects_of(targets), counts_of(targets)
        matches = match(found.logits, found.boxes, objects, counts, self.rules)
        count = mean_count(counts, found.boxes.device)
        losses = self._detection_losses(found, objects, matches, count, self.rules)
        self._measures = _by_layer(losses, config)
        self._measures["class_error"] = class_error(found, objects, matches)
        terms = _weighted(losses, config)
        if config.token_label_weight:
            terms["patch"] = config.token_label_weight * token_label_loss(outputs, targets)
        if self.token_loss is not None and target_tokens is not None:
            feature = self.token_loss(outputs["tokens"], target_tokens)
            terms["feature"] = config.feature_weight * feature
        return terms


def _weighted(losses: dict[str, Tensor], config: DetectionConfig) -> dict[str, Tensor]:
    """The sum over layers of each kind of loss (layers,), weighted.

    Without auxiliary losses earlier layers keep a weight of 0, so that every parameter still has
    a gradient, as DDP requires.
    """
    weights = config.loss_weights()
    earlier = 1.0 if config.auxiliary_losses else 0.0
    return {
        kind: weights[kind] * (earlier * loss[:-1].sum() + loss[-1])
        for kind, loss in losses.items()
    }


def _by_layer(losses: dict[str, Tensor], config: DetectionConfig) -> dict[str, Tensor]:
    """The unweighted losses of the last layer and, where they count, of those before it."""
    found = {kind: loss[-1].detach() for kind, loss in losses.items()}
    if config.auxiliary_losses:
        for kind, loss in losses.items():
            found |= {f"{kind}.{place}": part for place, part in enumerate(loss[:-1].detach())}
    return found
