"""Who answers for the teacher of a classifier: a network, or what was kept of its answers."""

from collections.abc import Sized
from pathlib import Path
from typing import cast

from torch import Tensor, nn

from vkd.config import ClassificationConfig
from vkd.data import Images, Splits
from vkd.distiller import adapter_for
from vkd.errors import UserError, blaming
from vkd.models import create_model, last_layer
from vkd.store import DiskTeacher, StoreDescription
from vkd.teacher import MemoryTeacher, NetworkTeacher, Teacher, TeacherOutput, widths_of

# What decides which images a teacher sees, and what it says of them.
_DECISIVE = (
    "dataset", "train_fraction", "input_size", "crop_padding", "flip", "augmentation",
    "color_jitter", "teacher", "teacher_layer", "teacher_checkpoint",
)  # fmt: skip


def teacher_of(
    config: ClassificationConfig, student: nn.Module, splits: Splits, example: Tensor
) -> Teacher | None:
    """Return the teacher that a recipe's losses ask for, if they do.

    Args:
        config: the recipe.
        student: tells how its images are normalised.
        splits: the data.
        example: an image batch to try the teacher with.

    Raises:
        UserError: if it is not there, or does not suit the data.
    """
    if not (config.feature_weight or config.logit_weight):
        return None
    teacher: Teacher
    if config.teacher_store:
        teacher = store = _store(config, splits)
        known = store.num_classes
    else:
        teacher, output = network_teacher(config, student, example)
        _, known = widths_of(output)
    classes = len(splits.classes)
    if config.logit_weight and known != classes:
        raise UserError(
            f"--teacher {config.teacher} knows {known} classes and the data has {classes}; "
            "logits can be distilled between equal classes only, so set --logit-weight 0."
        )
    is_constant = not (splits.is_augmented or config.mixup or config.cutmix)
    if is_constant and not config.teacher_store:
        return MemoryTeacher(teacher, cast(Images, splits.train).images)
    return teacher


def network_teacher(
    config: ClassificationConfig, student: nn.Module, example: Tensor
) -> tuple[NetworkTeacher, TeacherOutput]:
    """Return the recipe's teacher with its checkpoint, which takes the student's images, and its
    answers to an ``example`` of them.

    Raises:
        UserError: if it has no such layer, or one that cannot be pooled.
    """
    model = create_model(config.teacher, config.teacher_checkpoint)
    with blaming("--teacher-layer"):
        layer = config.teacher_layer or last_layer(model)
        teacher = NetworkTeacher(model, layer, adapter=adapter_for(student, model))
        return teacher, teacher(example)


def describe_store(
    config: ClassificationConfig, splits: Splits, views: int, seed: int, dtype: str
) -> StoreDescription:
    """Return what a store for a recipe holds; see ``StoreDescription``."""
    count = len(cast(Sized, splits.train))
    made_by = {name: getattr(config, name) for name in _DECISIVE}
    return StoreDescription(count, views, seed, dtype, splits.classes, made_by)


def _store(config: ClassificationConfig, splits: Splits) -> DiskTeacher:
    with blaming("--teacher-store"):
        store = DiskTeacher(Path(config.teacher_store))
    found = store.description
    wanted = describe_store(config, splits, found.views, found.seed, found.dtype)
    for name, value in wanted.recipe.items():
        # A run whose teacher would be trained first does not tell where that one is.
        if value != found.recipe[name] and (value or name != "teacher_checkpoint"):
            flag = "--" + name.replace("_", "-")
            raise UserError(
                f"--teacher-store {config.teacher_store} was made with {flag} "
                f"{found.recipe[name]!r}, the recipe has {value!r}."
            )
    if (found.images, found.classes) != (wanted.images, wanted.classes):
        raise UserError(
            f"--teacher-store {config.teacher_store} was made of {found.images} images in "
            f"{len(found.classes)} classes, the data has {wanted.images} in {len(wanted.classes)}."
        )
    return store
