"""A classifier with its losses."""

from typing import Any

import torch
from timm.data.mixup import Mixup
from timm.models.deit import VisionTransformerDistilled
from torch import Tensor, nn
from torch.nn import functional as F

from vkd.classification.config import ClassificationConfig
from vkd.classification.distillation import Distillation
from vkd.methods.method import Signals
from vkd.training.task import TrainingModule

Batch = tuple[Tensor, Tensor, Tensor]
# Where the networks were in the states of earlier versions.
_FORMER_KEYS = {
    "network.student.": "student.",
    "network.loss.": "methods.feature.loss.",
    "network.": "student.",
}


class ClassificationModule(TrainingModule):
    """A student with its losses: cross-entropy, and the methods' where they have weight.

    A student with two heads (``set_distilled_training``) learns labels by the first and the
    teacher's logits by the second.

    Args:
        student: the classifier.
        config: weights and kinds of the losses.
        num_classes: classes, for mixup.
        distillation: the teacher, and the methods that compare with it; None to train alone.
    """

    def __init__(
        self,
        student: nn.Module,
        config: ClassificationConfig,
        num_classes: int,
        distillation: Distillation | None = None,
    ) -> None:
        super().__init__()
        self.config, self.student, self.distillation = config, student, distillation
        self.methods = nn.ModuleDict(distillation.methods if distillation else {})
        if config.channels_last:
            student.to(memory_format=torch.channels_last)
        if isinstance(student, VisionTransformerDistilled):
            student.set_distilled_training(bool(config.logit_weight))
        if config.compile:
            student.compile()
        self._mixup = None
        if config.mixes:
            sides = (config.cutmix_min, config.cutmix_max) if config.cutmix_max else None
            self._mixup = Mixup(
                config.mixup,
                config.cutmix,
                sides,
                config.mixup_probability,
                config.mixup_switch_probability,
                config.mixup_mode,
                label_smoothing=config.label_smoothing,
                num_classes=num_classes,
            )
        self.register_load_state_dict_pre_hook(_rename_former)

    def undecayed(self) -> set[str]:
        """Return the methods' parameters, of all methods alike, and those the student names."""
        return self.parameters_in("methods") | super().undecayed()

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the weighted loss terms of (images, labels, indices)."""
        images, labels, indices = batch
        smoothing = self.config.label_smoothing
        if self._mixup is not None:
            images, labels = self._mixup(images, labels)
            smoothing = 0.0
        if self.config.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        # First, as what it takes to compute is free again before the student keeps its maps.
        distillation = self.distillation
        taught = None if distillation is None else distillation.teacher(images, indices)
        logits = self.student(images)
        label_logits, taught_logits = logits if isinstance(logits, tuple) else (logits, logits)
        terms = {}
        if distillation is not None and taught is not None:
            signals = distillation.signals(taught, taught_logits, labels, indices)
            terms = self._distilled(signals)
        terms["label"] = self._label_loss(label_logits.float(), labels, smoothing)
        return terms

    def _label_loss(self, logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
        if self.config.label_loss == "cross_entropy":
            return F.cross_entropy(logits, labels, label_smoothing=smoothing)
        if labels.ndim == 1:
            labels = F.one_hot(labels, logits.shape[1])
        # Of a mixed image all classes are there.
        return F.binary_cross_entropy_with_logits(logits, (labels > 0).float())

    def _distilled(self, signals: Signals) -> dict[str, Tensor]:
        weights = {"feature": self.config.feature_weight, "logit": self.config.logit_weight}
        return {name: weights[name] * method(signals) for name, method in self.methods.items()}


def _rename_former(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Give a state of an earlier version today's names."""
    for key in list(state):
        for former, name in _FORMER_KEYS.items():
            if key.startswith(prefix + former):
                state[prefix + name + key.removeprefix(prefix + former)] = state.pop(key)
                break
