"""How like a classifier's features are to its teacher's."""

from collections.abc import Iterator, Sized
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from vkd.classification.config import ClassificationConfig
from vkd.classification.distillation import Distillation
from vkd.data.description import few_batches
from vkd.data.images import Splits
from vkd.features import FeatureTap
from vkd.methods.method import Method
from vkd.models.factory import last_layer
from vkd.teacher import StoredTeacher
from vkd.training.similarities import Similarities, samples_to_compare, similarity_of
from vkd.training.task import Evaluated


@torch.no_grad()
def similarities_of(
    config: ClassificationConfig,
    splits: Splits,
    training: Any,
    distillation: Distillation,
    student: nn.Module,
    model: Evaluated,
) -> Similarities:
    """Return how like the student's pooled features are to the teacher's, on a few images.

    On validation images; on those of training where the teacher's outputs are stored.

    Args:
        config: the recipe.
        splits: the data.
        training: the training images as they are read, with the indices of stored outputs.
        distillation: the teacher and the methods.
        student: the network that is trained, which ``distillation.tap`` taps.
        model: the network as it is evaluated.
    """
    is_stored = isinstance(distillation.teacher, StoredTeacher)
    if is_stored and distillation.is_mixed:
        return Similarities(reason="the stored teacher saw mixed images alone")
    images: Any = training if is_stored else splits.validation
    count = samples_to_compare(len(images), config.epochs * len(cast(Sized, training)))
    device = model.accelerator.device
    ours, theirs = [], []
    with _tapped(config, distillation, student, model) as tap:
        for inputs, labels, indices in few_batches(images, count):
            readable = labels >= 0
            inputs = splits.finished(inputs, device) if is_stored else inputs.to(device)
            with model.accelerator.autocast():
                model.predict(inputs)
            features = distillation.pool(tap.take()).float()
            output = distillation.teacher(inputs, indices.to(device) if is_stored else None)
            ours.append(features.cpu()[readable])
            theirs.append(output.only.float().cpu()[readable])
    student_features, teacher_features = torch.cat(ours), torch.cat(theirs)
    kind = "training" if is_stored else "validation"
    samples = f"{len(student_features):,} of {len(images):,} {kind} images"
    found = similarity_of(
        f"student's {tap.layer} and the teacher's features", samples, student_features,
        teacher_features, *_projection(distillation, teacher_features),
    )  # fmt: skip
    return Similarities([found])


@contextmanager
def _tapped(
    config: ClassificationConfig, distillation: Distillation, student: nn.Module, model: Evaluated
) -> Iterator[FeatureTap]:
    """The tap that training reads, or one of its own where another network is evaluated."""
    if distillation.tap is not None and model.network is student:
        yield distillation.tap
        return
    known = distillation.tap.layer if distillation.tap is not None else config.student_layer
    tap = FeatureTap(model.network, known or last_layer(student))
    try:
        yield tap
    finally:
        tap.remove()


def _projection(
    distillation: Distillation, teacher: Tensor
) -> tuple[Tensor, Tensor] | tuple[None, None]:
    """The feature method's matrix, and the teacher's features as it compares them."""
    method = distillation.methods.get("feature")
    weight = method.projection_weight() if isinstance(method, Method) else None
    if weight is None or not isinstance(method, Method):
        return None, None
    return weight, method.target(teacher.to(weight.device))
