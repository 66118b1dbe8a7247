"""The teacher of a classifier: a network, or its stored outputs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

from torch import Tensor, nn

from vkd.classification.config import ClassificationConfig
from vkd.classification.distillation import TeacherSizes
from vkd.classification.mixing import MixingRule, PairMixing
from vkd.classification.names import logit_order
from vkd.data.catalogue import PHOTOGRAPHS
from vkd.data.images import Splits
from vkd.errors import FieldError, as_user_error, reason_of
from vkd.features import NotRunError
from vkd.inputs import InputAdapter, InputFormat, fixed_size_of, format_of, inputs_of
from vkd.models.checkpoints import Checkpoint, read_checkpoint
from vkd.models.factory import HUB, create_model, told_last_layer
from vkd.notes import say
from vkd.precision import STATED
from vkd.store.description import StoreDescription
from vkd.store.fitting import Contents, fitting_store
from vkd.teacher import (
    MemoryTeacher,
    NetworkTeacher,
    StoredTeacher,
    Teacher,
    TeacherOutput,
    widths_of,
)
from vkd.training.task import Objects

# What decides which images a teacher sees, and its outputs for them.
_DECISIVE = (
    "dataset", "train_fraction", "input_size", "crop_padding", "flip", "augmentation",
    "color_jitter", "teacher", "teacher_layer",
)  # fmt: skip
# What decides them as well, with the values of stores of earlier versions.
_DECISIVE_LATER: dict[str, Any] = {
    "crop": "random", "mixup": 0.0, "cutmix": 0.0, "cutmix_min": 0.0, "cutmix_max": 0.0,
    "mixup_probability": 1.0, "mixup_switch_probability": 0.5,
}  # fmt: skip
_DECISIVE_FOR_PHOTOGRAPHS = {"decoder": "exact"}


def teacher_of(
    config: ClassificationConfig, splits: Splits, example: Tensor, objects: Objects
) -> tuple[Teacher, TeacherSizes]:
    """Return the teacher of a recipe, and the sizes of its outputs.

    Args:
        config: the recipe, which compares with a teacher.
        splits: the data.
        example: an image batch to try the teacher with.
        objects: the teacher, where it is given as an object.

    Raises:
        UserError: if it is not there, or does not suit the data.
    """
    teacher: Teacher
    if config.teacher_store:
        config.require_unread({"teacher_precision"}, "teacher_store")
        teacher = fitting_store(store_contents(config, splits))
    elif objects.teacher is not None and not isinstance(objects.teacher, nn.Module):
        config.require_unread({"teacher_precision"}, "a teacher that is no network")
        teacher = objects.teacher
    else:
        names = splits.classes if config.logit_weight else []
        runs_once = splits.constant is not None and not config.mixes
        # To compile takes longer than to run once.
        compiled = replace(config, compile=config.compile and not runs_once)
        teacher = network_teacher(compiled, splits.format, objects.teacher, names)
        if runs_once and splits.constant is not None:
            with _trying(config.teacher, example):
                teacher = MemoryTeacher(teacher, splits.constant)
    with _trying(config.teacher, example):
        sizes = _sizes(teacher, example)
    classes = len(splits.classes)
    if config.logit_weight and sizes.classes != classes:
        raise FieldError(
            "teacher",
            f"{config.teacher} has {sizes.classes} classes and the data {classes}; logits can be "
            "distilled between equal classes only, so set logit_weight 0.",
        )
    return teacher, sizes


def _sizes(teacher: Teacher, example: Tensor) -> TeacherSizes:
    if isinstance(teacher, StoredTeacher):
        return TeacherSizes.of(teacher.widths, teacher.num_classes)
    return TeacherSizes.of(*widths_of(teacher(example)))


@contextmanager
def _trying(name: str, example: Tensor) -> Iterator[None]:
    """Turn what goes wrong where a teacher sees its first images into a ``FieldError``."""
    try:
        with as_user_error("teacher_layer"):
            yield
    except NotRunError as error:
        raise FieldError("teacher_layer", f": {error}") from None
    except (AssertionError, IndexError, RuntimeError, TypeError) as error:
        shape = " x ".join(map(str, example.shape[1:]))
        raise FieldError(
            "teacher", f": {name} does not take images of {shape}: {reason_of(error)}."
        ) from error


def network_teacher(
    config: ClassificationConfig,
    source: InputFormat,
    network: nn.Module | None = None,
    classes: Sequence[str] = (),
) -> Teacher:
    """Return the recipe's teacher, which takes images of the format ``source``.

    Args:
        config: the recipe.
        source: how the images that it will see are prepared.
        network: the teacher, where it is given as an object.
        classes: names of the data's classes, where its logits are used: they come in this order.

    Raises:
        UserError: if it has no such layer, or one that cannot be pooled, or knows other classes.
    """
    loaded = loaded_teacher(config, network)
    if config.compile:
        loaded.network.compile()
    teacher = tapped_teacher(config, source, loaded)
    return in_order(teacher, loaded, classes) if classes else teacher


class LoadedTeacher(NamedTuple):
    """A teacher's ``network`` with its weights, the ``checkpoint`` that they are from, None for
    one of no file, and its ``name`` for messages."""

    network: nn.Module
    checkpoint: Checkpoint | None
    name: str


def loaded_teacher(config: ClassificationConfig, network: nn.Module | None = None) -> LoadedTeacher:
    """Return the recipe's teacher with its weights.

    Args:
        config: the recipe.
        network: the teacher, where it is given as an object.
    """
    if network is not None:
        return LoadedTeacher(network, None, config.teacher or type(network).__name__)
    read = None
    if config.teacher_checkpoint not in ("", HUB):
        read = read_checkpoint(config.teacher_checkpoint)
    made = create_model(config.teacher, read or config.teacher_checkpoint)
    return LoadedTeacher(made, read, config.teacher)


def tapped_teacher(
    config: ClassificationConfig, source: InputFormat, loaded: LoadedTeacher
) -> NetworkTeacher:
    """Return a teacher of the recipe's layer, which takes images of the format ``source``.

    Raises:
        UserError: if it has no such layer, or one that cannot be pooled.
    """
    network, name = loaded.network, loaded.name
    adapter = InputAdapter(source, _teacher_format(loaded, source))
    with as_user_error("teacher_layer"):
        layer = config.teacher_layer or told_last_layer(network, f"teacher {name}")
        teacher = NetworkTeacher(network, layer, adapter=adapter)
    teacher.precision = STATED[config.teacher_precision]
    return teacher


def network_of(teacher: Teacher) -> NetworkTeacher | None:
    """Return the network that computes a teacher's outputs for each batch; None without one."""
    computing = teacher.teacher if isinstance(teacher, ReorderedTeacher) else teacher
    return computing if isinstance(computing, NetworkTeacher) else None


def in_order(teacher: Teacher, loaded: LoadedTeacher, classes: Sequence[str]) -> Teacher:
    """Return a teacher whose logits come in the order of the data's ``classes``.

    Raises:
        FieldError: if it knows other classes.
    """
    known = loaded.checkpoint.classes if loaded.checkpoint else []
    order = logit_order(known, classes, loaded.name)
    return teacher if order is None else ReorderedTeacher(teacher, order)


class ReorderedTeacher:
    """A teacher whose logits come in another order.

    Args:
        teacher: gives the outputs.
        order: which of its logits is the first, the second and so on.
    """

    def __init__(self, teacher: Teacher, order: list[int]) -> None:
        self.teacher, self.order = teacher, order

    def __call__(self, images: Tensor, indices: Tensor | None = None) -> TeacherOutput:
        """Return the teacher's outputs, with logits in this order."""
        output = self.teacher(images, indices)
        logits = None if output.logits is None else output.logits[:, self.order]
        return output._replace(logits=logits)


def _teacher_format(loaded: LoadedTeacher, source: InputFormat) -> InputFormat:
    """How a teacher takes images: as its file says, else as published, else as the student."""
    network, read, name = loaded
    stated = InputFormat.from_dict(read.inputs) if read and read.inputs else None
    found = format_of(network, stated)
    if found is not None:
        return found
    say(f"teacher {name}", ["it does not say how its images are normalised, so it gets them as the "
                            "student does"])  # fmt: skip
    channels = inputs_of(network).get("input_size", (source.channels,))[0]
    return replace(source.with_channels(channels), size=fixed_size_of(network))


def store_contents(config: ClassificationConfig, splits: Splits) -> Contents:
    """Return what a store for a recipe holds."""
    is_decoded = config.dataset in PHOTOGRAPHS and "data" not in config.objects
    later = _DECISIVE_LATER | (_DECISIVE_FOR_PHOTOGRAPHS if is_decoded else {})
    return Contents(config, splits, _DECISIVE, later, config.mixes)


def pair_mixing(
    config: ClassificationConfig, splits: Splits, description: StoreDescription
) -> PairMixing | None:
    """Return how the rows of a recipe's store are mixed; None where they are not.

    Raises:
        FieldError: for patches of CutMix that do not fit the images.
    """
    if not config.mixes:
        return None
    _, height, width = splits.shape
    return PairMixing(
        MixingRule.of(config), height, width, description.rows_per_view, description.seed
    )
