"""A classifier with its losses."""

from typing import Any

import torch
from timm.data.mixup import Mixup
from timm.models.deit import VisionTransformerDistilled
from torch import Tensor, nn
from torch.nn import functional as F

from vkd.classification.config import ClassificationConfig
from vkd.classification.distillation import Distillation
from vkd.classification.mixing import mixed_images, mixed_labels
from vkd.data.batch_augmentation import BatchAugmentation
from vkd.methods.method import Signals, explained_by
from vkd.store.teacher import Stored
from vkd.teacher import TeacherOutput
from vkd.training.task import TrainingModule

# Images, or ``Drawn`` where they are augmented on the device, labels and indices; with a store what
# it adds as well.
Batch = tuple[Any, Tensor, Tensor] | tuple[Any, Tensor, Tensor, Stored]
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
        augmentation: finishes the images of a batch; None where they come finished.
        labelled: which training images have a label (M,), bool; None where all have.
    """

    labelled: Tensor | None

    def __init__(
        self,
        student: nn.Module,
        config: ClassificationConfig,
        num_classes: int,
        distillation: Distillation | None = None,
        augmentation: BatchAugmentation | None = None,
        labelled: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("labelled", labelled, persistent=False)
        self._share = 1.0 if labelled is None else float(labelled.float().mean())
        self.augmentation = augmentation
        self.config, self.student, self.distillation = config, student, distillation
        self.methods = nn.ModuleDict(distillation.methods if distillation else {})
        if config.channels_last:
            student.to(memory_format=torch.channels_last)
        if isinstance(student, VisionTransformerDistilled):
            student.set_distilled_training(bool(config.logit_weight))
        self._compared = self._terms
        if config.compile:
            student.compile()
            self._compared = torch.compile(self._terms)
        self.num_classes = num_classes
        self._mixup = None
        # The pairs of a store are fixed; one that no loss asks for decides nothing.
        if config.mixes and not (config.teacher_store and distillation):
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

    def undecayed(self) -> set[str]:
        """Return the methods' parameters, of all methods alike, and those the student names."""
        return self.parameters_in("methods") | super().undecayed()

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the weighted loss terms of a batch; see ``Batch``.

        Raises:
            ValueError: for a batch without what a store of mixed images adds to it.
        """
        images, labels, indices, stored = batch if len(batch) == 4 else (*batch, None)
        if self.augmentation is not None:
            images = self.augmentation(images)
        smoothing = self.config.label_smoothing
        if self.config.mixes:
            images, labels = self._mixed(images, labels, stored)
            smoothing = 0.0
        if self.config.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        # First, as what it takes to compute is free again before the student keeps its maps.
        taught = self._taught(images, indices, stored)
        logits = self.student(images)
        label_logits, taught_logits = logits if isinstance(logits, tuple) else (logits, logits)
        signals = None
        if self.distillation is not None and taught is not None:
            signals = self.distillation.signals(taught, taught_logits, labels, indices)
        if self.labelled is None:
            return self._compared(label_logits, labels, smoothing, signals)
        known = self.labelled[indices % len(self.labelled)]
        if signals is not None:
            signals = signals._replace(labels=None)
        return self._compared(label_logits, labels, smoothing, signals, known)

    def explained(self) -> dict[str, Tensor]:
        """Return what the method of features explains; see ``TrainingModule``."""
        return explained_by(dict(self.methods))

    def _taught(
        self, images: Tensor, indices: Tensor, stored: Stored | None
    ) -> TeacherOutput | None:
        """The teacher's outputs; None without one."""
        if self.distillation is None:
            return None
        return self.distillation.teacher(images, indices) if stored is None else stored.output

    def _terms(
        self,
        logits: Tensor,
        labels: Tensor,
        smoothing: float,
        signals: Signals | None,
        known: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The weighted terms of what student and teacher found; one graph where it is compiled."""
        weights = {"feature": self.config.feature_weight, "logit": self.config.logit_weight}
        terms = {}
        if signals is not None:
            terms = {name: weights[name] * method(signals) for name, method in self.methods.items()}
        losses = self._label_losses(logits.float(), labels, smoothing)
        if known is None:
            return terms | {"label": losses.mean()}
        # As many as are expected, so that a batch with one label weighs it no more than others.
        return terms | {"label": (losses * known).mean() / self._share}

    def _mixed(self, images: Tensor, labels: Tensor, stored: Stored | None) -> tuple[Any, Any]:
        if self._mixup is not None:
            return self._mixup(images, labels)
        if stored is None or stored.mixing is None:
            raise ValueError("A batch of mixed images must come with its store's mixing.")
        mixing, smoothing = stored.mixing, self.config.label_smoothing
        mixed = mixed_labels(labels, mixing, self.num_classes, smoothing)
        return mixed_images(images, mixing), mixed

    def _label_losses(self, logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
        """The loss of each image (N,)."""
        if self.config.label_loss == "cross_entropy":
            return F.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
        if labels.ndim == 1:
            # As F.one_hot, which reads the least and largest label.
            labels = labels[:, None] == torch.arange(logits.shape[1], device=labels.device)
        # Of a mixed image all classes are there.
        target = (labels > 0).float()
        return F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(1)
