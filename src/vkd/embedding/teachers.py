"""The teachers of an embedding: frozen networks, or what is given as an object."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from torch import Tensor, nn

from vkd.embedding.choice import TeacherChoice
from vkd.embedding.config import EmbeddingConfig
from vkd.embedding.grids import grid_of
from vkd.errors import FieldError, as_user_error, reason_of, shortened
from vkd.features import FeatureTap, Pool, prefix_tokens_of
from vkd.inputs import InputAdapter, InputFormat, fixed_size_of, format_of
from vkd.models.checkpoints import read_checkpoint
from vkd.models.factory import HUB, create_model, fitting_options, told_last_layer
from vkd.notes import say
from vkd.precision import STATED, Precision
from vkd.teacher import NetworkTeacher, Teacher, TeacherOutput


class ChosenTeacher(NamedTuple):
    """A teacher with what a recipe chooses of it.

    Attributes:
        teacher: gives features by layer, pooled, or grids in dense distillation.
        layers: pairs of the student's and its layers; None for the only one of an object.
        weight: of its losses.
        measured: gives the features that a student is compared with in evaluation, pooled.
        name: for messages.
    """

    teacher: Teacher
    layers: dict[str, str | None]
    weight: float
    measured: Teacher
    name: str


class SharedPrecision:
    """The precision of several networks, which is one.

    Args:
        teachers: the networks, at least one.
    """

    def __init__(self, teachers: Sequence[NetworkTeacher]) -> None:
        self._teachers = teachers

    @property
    def precision(self) -> Precision:
        """Arithmetic and layout that all compute in."""
        return self._teachers[0].precision

    @precision.setter
    def precision(self, value: Precision) -> None:
        for teacher in self._teachers:
            teacher.precision = value


def teachers_of(
    config: EmbeddingConfig, source: InputFormat, given: Teacher | nn.Module | None = None
) -> list[ChosenTeacher]:
    """Return the teachers of a recipe; none where it names none.

    Args:
        config: the recipe.
        source: how the images that they will see are prepared.
        given: the teacher, where it is given as an object.

    Raises:
        UserError: if one is not there, or has no such layer.
    """
    if given is None and not config.names_teacher:
        return []
    choices = config.chosen_teachers()
    if given is not None and not isinstance(given, nn.Module):
        config.require_unread({"teacher_precision"}, "a teacher that is no network")
        layers = {student: layer or None for student, layer in choices[0].layers.items()}
        return [ChosenTeacher(given, layers, 1.0, given, type(given).__name__)]
    return [network_teacher(config, choice, source, given) for choice in choices]


def network_teacher(
    config: EmbeddingConfig,
    choice: TeacherChoice,
    source: InputFormat,
    given: nn.Module | None = None,
) -> ChosenTeacher:
    """Return one teacher of a recipe, see ``teachers_of``."""
    network, stated = given, None
    name = choice.name or type(given).__name__
    if network is None:
        network, stated = _loaded(choice, config.teacher_size)
    if config.compile:
        network.compile()
    adapter = InputAdapter(source, _format(network, stated, source, name))
    field = "teachers" if config.teachers else "layers" if config.layers else "teacher_layer"
    layers = dict(choice.layers)
    if config.dense and not all(layers.values()):
        with as_user_error(field):
            last = told_last_layer(network, f"teacher {name}")
        layers = {student: layer or last for student, layer in layers.items()}
    own = partial(grid_of, prefix_tokens=prefix_tokens_of(network))
    pool: str | Pool = own if config.dense else "auto"
    with as_user_error(field):
        teacher = NetworkTeacher(network, list(layers.values()), pool, adapter)
        # The embedding, unless one layer of pooled features is chosen.
        is_pooled = len(layers) == 1 and not config.dense
        measured = NetworkTeacher(
            network, next(iter(layers.values())) if is_pooled else "", "auto", adapter
        )
    teacher.precision = measured.precision = STATED[config.teacher_precision]
    return ChosenTeacher(teacher, {**layers}, choice.weight, measured, name)


def _loaded(choice: TeacherChoice, side: int) -> tuple[nn.Module, InputFormat | None]:
    """A teacher's network, and how its file says that it takes images.

    One with published weights is built for images of another ``side``, if that is above 0.
    """
    if choice.checkpoint in ("", HUB):
        options = {"num_classes": 0}
        if side:
            fitting = fitting_options(choice.name, (3, side, side), 0)
            options |= {name: value for name, value in fitting.items() if name == "img_size"}
        return create_model(choice.name, choice.checkpoint, **options), None
    read = read_checkpoint(choice.checkpoint)
    stated = InputFormat.from_dict(read.inputs) if read.inputs else None
    return create_model(choice.name, read, num_classes=0), stated


def _format(
    network: nn.Module, stated: InputFormat | None, source: InputFormat, name: str
) -> InputFormat:
    """How a teacher takes images: as its file says, else as published, else as the student."""
    found = format_of(network, stated)
    if found is not None:
        return found
    say(
        f"teacher {name}",
        ["it does not say how its images are normalised, so it gets them as the student does"],
    )
    return replace(source, size=fixed_size_of(network))


def tried(chosen: ChosenTeacher, example: Tensor) -> TeacherOutput:
    """Return a teacher's output for example images.

    Raises:
        FieldError: if it does not take them, or a layer gives no features.
    """
    name = shortened(chosen.name, 60)
    try:
        return chosen.teacher(example)
    except ValueError as error:
        raise FieldError("teacher_layer", f": {name}: {error}") from None
    except (AssertionError, IndexError, RuntimeError, TypeError) as error:
        shape = " x ".join(map(str, example.shape[1:]))
        raise FieldError(
            "teacher", f": {name} does not take images of {shape}: {reason_of(error)}."
        ) from error


def require_layer(network: nn.Module, layer: str, field: str) -> None:
    """Raise ``FieldError`` about ``field`` if a network has no such layer."""
    with as_user_error(field):
        FeatureTap(network, layer).remove()
