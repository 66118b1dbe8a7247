"""What stores of a classifier's teacher hold."""

from typing import Any

import torch
from torch import Tensor, nn

from vkd.classification.config import ClassificationConfig
from vkd.classification.mixing import MixingRule, mixed_images
from vkd.classification.task import training_splits
from vkd.classification.teachers import (
    in_order,
    loaded_teacher,
    pair_mixing,
    store_contents,
    tapped_teacher,
)
from vkd.errors import FieldError
from vkd.notes import say
from vkd.store.description import StoreDescription
from vkd.teacher import Teacher, TeacherOutput
from vkd.training.task import Objects


class ClassifierSubject:
    """The teacher of a classifier and its images, mixed where the recipe says so; see ``Subject``.

    Args:
        config: the recipe.
        objects: teacher and data, where they are given as objects.
    """

    def __init__(self, config: ClassificationConfig, objects: Objects) -> None:
        self.config, self.objects = config, objects
        self.splits = training_splits(config, objects)
        self.contents = store_contents(config, self.splits)
        self.is_constant = self.splits.constant is not None and not config.mixes
        self.shape = self.splits.shape
        if config.mixes:
            MixingRule.of(config).check_size(*self.shape[1:])

    def teacher(self, config: ClassificationConfig) -> tuple[Teacher, nn.Module]:
        """Return the teacher, whose logits come in the order of the data's classes or not at all.

        Raises:
            UserError: if it is not there, or does not suit the images.
        """
        loaded = loaded_teacher(config, self.objects.teacher)
        teacher: Teacher = tapped_teacher(config, self.splits.format, loaded)
        try:
            teacher = in_order(teacher, loaded, self.splits.classes)
        except FieldError:
            if config.logit_weight:
                raise
            say(loaded.name, ["its logits are of other classes than the data's, and not stored"])
            teacher = _WithoutLogits(teacher)
        return teacher, loaded.network

    def seen(
        self, images: Any, rows: Tensor, description: StoreDescription, device: torch.device
    ) -> Tensor:
        """Return images of ``rows`` (N,), mixed as students will see them."""
        finished = self.splits.finished(images, device)
        mixing = pair_mixing(self.config, self.splits, description)
        return finished if mixing is None else mixed_images(finished, mixing(rows).to(device))


class _WithoutLogits:
    """A teacher of features alone."""

    def __init__(self, teacher: Teacher) -> None:
        self.teacher = teacher

    def __call__(self, images: Tensor, indices: Tensor | None = None) -> TeacherOutput:
        return self.teacher(images, indices)._replace(logits=None)
