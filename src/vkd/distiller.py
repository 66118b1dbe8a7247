"""VkD for any teacher and student in a few lines."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vkd.features import FeatureTap, Pool, pooling
from vkd.loss import FeatureLoss, VkDLoss
from vkd.teacher import InputAdapter, NetworkTeacher, Teacher

LossFactory = Callable[[int, int], FeatureLoss]


class DistillerOutput(NamedTuple):
    """``output`` of the student, the distillation ``loss``, and the teacher's ``logits``."""

    output: Any
    loss: Tensor
    teacher_logits: Tensor


class Distiller(nn.Module):
    """Trains ``student`` to match the features of ``teacher``.

    Only the student and the projection are parameters and in ``state_dict``; the teacher is
    frozen, stays in eval mode, and follows the images to their device. ``student`` itself is
    what to deploy.

    Args:
        student: any network.
        teacher: any network (frozen here), or an object with the interface of ``vkd.teacher``.
        student_layer: name of the student's submodule to read features from.
        teacher_layer: the same for a teacher network.
        pool: layout of the student's features, see ``vkd.features.pooling``.
        teacher_pool: the teacher's, as ``pool`` when left out.
        loss: function of (student_dim, teacher_dim) that returns the loss; ``VkDLoss`` by default.
        adapter: maps the student's images to the teacher's; by default made from the models'
            ``pretrained_cfg`` (timm) where both have one: normalisation and a fixed input size.
        example: an image batch to find the feature sizes with; by default zeros of the student's
            ``pretrained_cfg`` input size, or (2, 3, 224, 224).

    Raises:
        ValueError: if a layer does not exist (the closest names are listed), or an example is
            needed.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module | Teacher,
        student_layer: str,
        teacher_layer: str = "",
        pool: str | Pool = "auto",
        teacher_pool: str | Pool | None = None,
        loss: LossFactory = VkDLoss,
        adapter: nn.Module | None = None,
        example: Tensor | None = None,
    ) -> None:
        super().__init__()
        if isinstance(teacher, nn.Module):
            adapter = adapter or adapter_for(student, teacher)
            teacher = NetworkTeacher(teacher, teacher_layer, teacher_pool or pool, adapter)
        self.student = student
        self.teacher = teacher
        self._tap = FeatureTap(student, student_layer)
        self._pool = pooling(pool, getattr(student, "num_prefix_tokens", 0))
        self.loss = loss(*self._feature_dims(example))

    def forward(self, images: Tensor, indices: Tensor | None = None) -> DistillerOutput:
        """Run the student on (N, C, H, W) images and compare its features with the teacher's."""
        output = self.student(images)
        features = self._pool(self._tap.take())
        known = self.teacher(images, indices)
        return DistillerOutput(output, self.loss(features, known.features), known.logits)

    @torch.no_grad()
    def _feature_dims(self, example: Tensor | None) -> tuple[int, int]:
        if example is None:
            size = _config(self.student).get("input_size", (3, 224, 224))
            example = torch.zeros(2, *size)
        parameter = next(self.student.parameters(), None)
        if parameter is not None:
            example = example.to(parameter.device)
        training = self.student.training
        self.student.eval()(example)
        self.student.train(training)
        teacher_features = self.teacher(example).features
        return self._pool(self._tap.take()).shape[1], teacher_features.shape[1]


def _config(model: nn.Module) -> dict[str, Any]:
    return getattr(model, "pretrained_cfg", None) or {}


def adapter_for(student: nn.Module, teacher: nn.Module) -> InputAdapter | None:
    """Return what turns the student's images into the teacher's, by timm's ``pretrained_cfg``.

    None where either does not tell how its images are normalised.
    """
    ours, theirs = _config(student), _config(teacher)
    if not (ours.get("mean") and theirs.get("mean")):
        return None
    size = tuple(theirs["input_size"][1:]) if theirs.get("fixed_input_size") else None
    if size is not None:
        # The config tells the published size; a model built for another one knows better.
        size = getattr(getattr(teacher, "patch_embed", None), "img_size", None) or size
    return InputAdapter((ours["mean"], ours["std"]), (theirs["mean"], theirs["std"]), size)
