"""A training task for timm's loop, beside timm's own ``FeatureDistillationTask``.

In a copy of timm's ``train.py`` one line changes::

    from vkd.integrations.timm import VkDTask as FeatureDistillationTask

or by hand::

    task = VkDTask(student_model=student, teacher_model="resnet50", criterion=nn.CrossEntropyLoss())
    optimizer = timm.optim.create_optimizer_v2(task.get_trainable_module(), opt="adamw")
    task(images, labels)["loss"].backward()
"""

import logging
from typing import Any

import torch
from torch import Tensor, nn

from vkd.distiller import LossFactory
from vkd.errors import FieldError
from vkd.loss import VkDLoss

try:
    from timm.task import DistillationTeacher, FeatureDistillationTask
    from timm.task.distillation import FeatureDistillationTrainableModule
except ImportError as error:
    import timm

    raise ImportError(
        "vkd.integrations.timm needs a timm with timm.task.FeatureDistillationTask, found "
        f"{timm.__version__}: run pip install --upgrade timm."
    ) from error

_log = logging.getLogger("vkd")
_PARTS = ("forward_features", "forward_head")


class _Trainable(FeatureDistillationTrainableModule):
    """Student and projection; the projection is not decayed, as in ``vkd train``."""

    def no_weight_decay(self) -> set[str]:
        projection = {name for name, _ in self.named_parameters() if name.startswith("projection.")}
        return super().no_weight_decay() | projection


class VkDTask(FeatureDistillationTask):
    """timm's task of feature distillation with the loss of VkD.

    The same pooled features are compared as in timm's task: of the student's and the teacher's
    ``forward_head(..., pre_logits=True)``. The projection trains and is saved as timm's is: inside
    the trainable module (DistributedDataParallel, averaged weights, clipping), and under
    ``task_state`` of the checkpoint, whose ``state_dict`` is the student alone. The teacher is
    frozen. For other layers, or several teachers, see ``vkd.Distiller``.

    Args:
        student_model: a model of timm.
        teacher_model: name of a model of timm, with its published weights; a model; or timm's
            ``DistillationTeacher``.
        loss: function of (student_dim, teacher_dim) that returns the ``vkd.FeatureLoss``;
            ``VkDLoss`` by default.
        verbose: whether to log the dimensions.
        **options: those of ``FeatureDistillationTask``, with its meanings and defaults:
            ``criterion``, ``criterion_kwargs``, ``teacher_pretrained_path``,
            ``teacher_pretrained_cfg_overlay``, ``distill_loss_weight``, ``task_loss_weight``,
            ``student_feature_dim``, ``teacher_feature_dim``, ``device``, ``dtype``.

    Raises:
        FieldError: for a model without the interface of timm's.
    """

    student_mean: Tensor
    student_std: Tensor

    def __init__(
        self,
        student_model: nn.Module,
        teacher_model: str | nn.Module | DistillationTeacher,
        loss: LossFactory = VkDLoss,
        verbose: bool = True,
        **options: Any,
    ) -> None:
        _require("student_model", student_model, "pretrained_cfg", *_PARTS)
        if not isinstance(teacher_model, str | DistillationTeacher):
            _require("teacher_model", teacher_model, *_PARTS)
        super().__init__(student_model, teacher_model, verbose=False, **options)
        self.verbose = verbose
        self.teacher.requires_grad_(False)
        student_dim = options.get("student_feature_dim") or self._detect_feature_dim(student_model)
        teacher_dim = options.get("teacher_feature_dim") or self._detect_feature_dim(
            self.teacher.model
        )
        made = loss(student_dim, teacher_dim).to(device=self.device, dtype=self.dtype)
        self.normalization, self.distance = made.normalization, made.distance
        self.trainable_module = _Trainable(student_model, made.projection)
        if verbose:
            _log.info(
                "%s: %s from %d to %d features, weights %g (task) and %g (distillation)",
                type(self).__name__, type(made).__name__, student_dim, teacher_dim,
                self.task_loss_weight, self.distill_loss_weight,
            )  # fmt: skip

    def forward(self, input: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Return losses and logits, as timm's task does.

        Args:
            input: images (N, C, H, W), normalised for the student.
            target: labels (N,), or what the criterion takes.

        Returns:
            ``loss`` (weighted sum), ``output`` (logits), ``task_loss`` and ``kd_loss``.
        """
        logits, projected = self.trainable_module(input)
        task_loss = self.criterion(logits, target)
        with torch.no_grad():
            images = self.teacher.normalize_input(input, self.student_mean, self.student_std)
            features = self.normalization(self.teacher(images, return_features=True))
        kd_loss = self.distance(projected, features)
        loss = self.task_loss_weight * task_loss + self.distill_loss_weight * kd_loss
        return {"loss": loss, "output": logits, "task_loss": task_loss, "kd_loss": kd_loss}


def _require(argument: str, model: nn.Module, *parts: str) -> None:
    absent = [name for name in parts if not hasattr(model, name)]
    if absent:
        raise FieldError(
            argument,
            f"must be a model of timm, found {type(model).__name__}, which has no "
            f"{' and no '.join(absent)}; vkd.Distiller takes any network.",
        )
