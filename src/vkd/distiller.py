"""VkD for any teacher and student in a few lines."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vkd.features import (
    FeatureTap,
    Inputs,
    Pool,
    call,
    device_of,
    moved,
    pooling,
    prefix_tokens_of,
    probing,
)
from vkd.inputs import InputAdapter, format_of, inputs_of
from vkd.loss import FeatureLoss, VkDLoss
from vkd.teacher import NetworkTeacher, StoredTeacher, Teacher, TeacherOutput, widths_of

LossFactory = Callable[[int, int], FeatureLoss]
Layers = Mapping[str, str | None]


class DistillerOutput(NamedTuple):
    """What a ``Distiller`` returns.

    Attributes:
        output: of the student.
        loss: of the distillation, a scalar: the weighted sum over all pairs of layers.
        teacher_logits: of the first teacher (N, classes); None where it has none.
    """

    output: Any
    loss: Tensor
    teacher_logits: Tensor | None


class Pair(NamedTuple):
    """A student's layer that learns from a layer of the teacher of number ``teacher``."""

    student_layer: str
    teacher: int
    teacher_layer: str
    weight: float


class Distiller(nn.Module):
    """Trains ``student`` to match the features of ``teacher``.

    Only the student and the projections are parameters and in ``state_dict``; the teacher is
    frozen, stays in eval mode, and follows the images to their device. ``student`` itself is
    what to deploy. ``close``, or the end of a ``with`` statement, leaves it without taps.

    Args:
        student: any network.
        teacher: any network (frozen here), or an object with the interface of ``vkd.teacher``; or
            a list of these.
        student_layer: name of the student's submodule to read features from; see
            ``vkd.features.FeatureTap`` for names and ``vkd.layers`` for a list of them.
        teacher_layer: the same for the teacher; by default a network's output, or the only layer
            of an object.
        pool: layout of the student's features, see ``vkd.features.pooling``.
        teacher_pool: the teacher's, as ``pool`` when left out.
        loss: function of (student_dim, teacher_dim) that returns the loss; ``VkDLoss`` by default.
        adapter: maps the student's images to the teacher's; by default made from the models'
            ``pretrained_cfg`` (timm) where both have one: normalisation and a fixed input size.
            Where ``example`` is no tensor, none is made.
        example: what the student is called with, to find the numbers of features: a tensor, a list
            of images, a tuple of positional inputs, or a dict of inputs by keyword; by default
            zeros of the student's ``pretrained_cfg`` input size, or (2, 3, 224, 224).
        layers: in place of ``student_layer`` and ``teacher_layer``, several pairs of layers:
            names of the student's to names of the teacher's. With a list of teachers a list of
            such dicts, or one for all.
        layer_weights: weight of each student layer's losses, 0 or above; 1 by default.
        teacher_weights: weight of each teacher's losses, 0 or above; 1 by default.

    Attributes:
        loss: the loss of the only pair; with several, a ``ModuleDict`` of the ``losses``.
        teachers: all teachers; ``teacher`` is the first.

    Raises:
        ValueError: if a layer does not exist (the closest names are listed), an example is needed,
            layers or weights do not fit each other, or student and teacher share parameters.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module | Teacher | Sequence[nn.Module | Teacher],
        student_layer: str | None = None,
        teacher_layer: str | None = None,
        pool: str | Pool = "auto",
        teacher_pool: str | Pool | None = None,
        loss: LossFactory = VkDLoss,
        adapter: nn.Module | None = None,
        example: Inputs | None = None,
        *,
        layers: Layers | Sequence[Layers] | None = None,
        layer_weights: Mapping[str, float] | None = None,
        teacher_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        given: list[Any] = list(teacher) if isinstance(teacher, list | tuple) else [teacher]
        chosen = _layers_of(len(given), student_layer, teacher_layer, layers)
        weights = _weights_of(chosen, layer_weights, teacher_weights)
        for each in given:
            _require_apart(student, each)
        self.student = student
        self._is_closed = False
        self._pool = pooling(pool, prefix_tokens_of(student))
        self._taps: dict[str, FeatureTap] = {}
        self.teachers: list[Teacher] = []
        try:
            for layer in dict.fromkeys(layer for part in chosen for layer in part):
                self._taps[layer] = FeatureTap(student, layer)
            for each, part in zip(given, chosen, strict=True):
                if isinstance(each, nn.Module):
                    is_image = example is None or isinstance(example, Tensor)
                    own = adapter_for(student, each) if adapter is None and is_image else adapter
                    names = [layer or "" for layer in part.values()]
                    each = NetworkTeacher(each, names, teacher_pool or pool, own)
                self.teachers.append(each)
            dims = self._dims(example)
            self._pairs = [
                Pair(layer, number, _known_layer(dims[1][number], wanted, number), weight)
                for number, part in enumerate(chosen)
                for (layer, wanted), weight in zip(part.items(), weights[number], strict=True)
            ]
            made = [
                loss(dims[0][pair.student_layer], dims[1][pair.teacher][pair.teacher_layer])
                for pair in self._pairs
            ]
        except Exception:
            self.close()
            raise
        # The keys of a ModuleDict must not hold dots.
        keys = [name.replace(".", "/") for name in self._names()]
        self.loss: nn.Module = (
            made[0] if len(made) == 1 else nn.ModuleDict(dict(zip(keys, made, strict=True)))
        )

    @property
    def teacher(self) -> Teacher:
        """The first teacher."""
        return self.teachers[0]

    @property
    def pairs(self) -> list[Pair]:
        """The pairs of layers, in the order of ``losses``."""
        return list(self._pairs)

    @property
    def losses(self) -> dict[str, nn.Module]:
        """The loss of each pair, by ``student_layer -> teacher_layer``.

        With several teachers the teacher's number stands before its layer, as in
        ``norm -> 1:layer4``. A forward hook on a loss sees its value before it is weighted.
        """
        modules = [self.loss] if len(self._pairs) == 1 else self.loss.children()
        return dict(zip(self._names(), modules, strict=True))

    def forward(
        self, images: Inputs | None = None, indices: Tensor | None = None, **inputs: Any
    ) -> DistillerOutput:
        """Run the student and compare its features with the teacher's.

        Args:
            images: (N, C, H, W); or a list of images, a tuple of positional inputs, or a mapping
                of inputs by keyword. Such inputs reach student and teacher alike.
            indices: positions (N,) of the samples in their data set, for stored teachers.
            inputs: inputs by keyword, in place of ``images``, as in ``distiller(**batch)``.

        Raises:
            RuntimeError: after ``close``.
            ValueError: for ``images`` and ``inputs`` together, or neither; without ``indices``
                where a teacher is stored.
        """
        batch = self._batch(images, inputs)
        # First, as what it takes to compute is free again before the student keeps its maps.
        outputs = [teacher(batch, indices) for teacher in self.teachers]
        output = call(self.student, batch)
        return DistillerOutput(output, self._compared(outputs), outputs[0].logits)

    def compare(
        self, images: Inputs | None = None, indices: Tensor | None = None, **inputs: Any
    ) -> Tensor:
        """Return the loss of the student's last forward pass, which somebody else's code ran.

        For a training loop that calls the student itself. Only the teachers run here.

        Args:
            images: what the student was given, as in ``forward``.
            indices: as in ``forward``.
            inputs: as in ``forward``.

        Raises:
            RuntimeError: after ``close``, or if a layer has not run since the last call.
            ValueError: as ``forward``; and if the student's features have no gradient, from which
                nothing could be learnt.
        """
        batch = self._batch(images, inputs)
        return self._compared([teacher(batch, indices) for teacher in self.teachers], learns=True)

    def _batch(self, images: Inputs | None, inputs: dict[str, Any]) -> Any:
        if self._is_closed:
            raise RuntimeError("This Distiller is closed and has no taps any more; make a new one.")
        if (images is None) == (not inputs):
            raise ValueError(
                "A Distiller takes either images or inputs by keyword, found "
                f"{'neither' if images is None else 'both'}."
            )
        return inputs if images is None else images

    def _compared(self, outputs: list[TeacherOutput], learns: bool = False) -> Tensor:
        """The weighted sum of the losses of what the taps hold; it ``learns`` where it must."""
        features = {layer: self._pool(tap.take()) for layer, tap in self._taps.items()}
        terms = []
        for pair, loss in zip(self._pairs, self.losses.values(), strict=True):
            ours = features[pair.student_layer]
            theirs = outputs[pair.teacher].features[pair.teacher_layer]
            if len(ours) != len(theirs):
                raise ValueError(
                    f"The student's layer {pair.student_layer!r} gives {len(ours)} rows of "
                    f"features, the teacher's {pair.teacher_layer!r} {len(theirs)}; dense features "
                    "need layers with the same grid of places, or a pool function that resizes."
                )
            if learns and not ours.requires_grad:
                raise ValueError(
                    f"The features of the student's layer {pair.student_layer!r} have no gradient; "
                    "it must not be frozen, nor run without gradients or under reentrant "
                    "checkpointing."
                )
            terms.append(pair.weight * loss(ours, theirs))
        return torch.stack(terms).sum()

    def close(self) -> None:
        """Remove all taps from student and teachers.

        The student can then be copied, pickled, scripted and exported as before; the teachers stay
        frozen. Teachers with a ``close`` of their own are closed, too.
        """
        self._is_closed = True
        for tap in self._taps.values():
            tap.remove()
        for teacher in self.teachers:
            if hasattr(teacher, "close"):
                teacher.close()

    def __enter__(self) -> "Distiller":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _names(self) -> list[str]:
        return [
            f"{pair.student_layer} -> "
            + (f"{pair.teacher}:" if len(self.teachers) > 1 else "")
            + pair.teacher_layer
            for pair in self._pairs
        ]

    def _dims(self, example: Inputs | None) -> tuple[dict[str, int], list[dict[str, int]]]:
        """Numbers of features by layer: the student's, and each teacher's."""
        guess = torch.zeros(2, *inputs_of(self.student).get("input_size", (3, 224, 224)))
        batch: Any = moved(guess if example is None else example, device_of(self.student))
        with probing(self.student):
            try:
                call(self.student, batch)
            except Exception as error:
                if example is not None:
                    raise
                raise ValueError(
                    f"example must be given, as the student fails on zeros of shape "
                    f"{tuple(guess.shape)}: {str(error).splitlines()[0][:120]}"
                ) from error
            features = {layer: self._pool(tap.take()) for layer, tap in self._taps.items()}
            theirs = [
                teacher.widths
                if isinstance(teacher, StoredTeacher)
                else widths_of(teacher(batch))[0]
                for teacher in self.teachers
            ]
        return {layer: part.shape[1] for layer, part in features.items()}, theirs


def adapter_for(student: nn.Module, teacher: nn.Module) -> InputAdapter | None:
    """Return what turns the student's images into the teacher's, by timm's ``pretrained_cfg``.

    None where either config has no normalisation.
    """
    ours, theirs = format_of(student), format_of(teacher)
    return None if ours is None or theirs is None else InputAdapter(ours, theirs)


def _layers_of(
    teachers: int,
    student_layer: str | None,
    teacher_layer: str | None,
    layers: Layers | Sequence[Layers] | None,
) -> list[dict[str, str | None]]:
    """The pairs of layers of each teacher, however they are given."""
    if not teachers:
        raise ValueError("teacher must be a network, a teacher or a list of these, found none.")
    if (layers is None) == (student_layer is None) or (layers is not None and teacher_layer):
        raise ValueError(
            "A Distiller takes either student_layer, with teacher_layer, or layers, found "
            f"student_layer={student_layer!r}, teacher_layer={teacher_layer!r} and "
            f"{'no layers' if layers is None else 'layers'}."
        )
    if student_layer is not None:
        layers = {student_layer: teacher_layer}
    parts = list(repeat(layers, teachers)) if isinstance(layers, Mapping) else list(layers or [])
    if len(parts) != teachers:
        raise ValueError(
            f"layers must be one dict, or a dict for each of {teachers} teachers, found "
            f"{len(parts)}."
        )
    if not all(parts):
        raise ValueError("layers must have a pair of layers for each teacher, found an empty dict.")
    return [dict(part) for part in parts]


def _weights_of(
    layers: list[dict[str, str | None]],
    layer_weights: Mapping[str, float] | None,
    teacher_weights: Sequence[float] | None,
) -> list[list[float]]:
    """The weight of each pair of each teacher."""
    by_layer = dict(layer_weights or {})
    by_teacher = [1.0] * len(layers) if teacher_weights is None else list(teacher_weights)
    if len(by_teacher) != len(layers):
        raise ValueError(
            f"teacher_weights must have a weight for each of {len(layers)} teachers, found "
            f"{len(by_teacher)}."
        )
    unknown = [layer for layer in by_layer if not any(layer in part for part in layers)]
    if unknown:
        known = ", ".join(dict.fromkeys(layer for part in layers for layer in part))
        raise ValueError(
            f"layer_weights must name the student's layers {known[:120]}, found {unknown[0]!r}."
        )
    for name, values in (("layer", by_layer.values()), ("teacher", by_teacher)):
        for value in values:
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name}_weights must be finite and 0 or above, found {value}.")
    return [
        [weight * by_layer.get(layer, 1.0) for layer in part]
        for weight, part in zip(by_teacher, layers, strict=True)
    ]


def _require_apart(student: nn.Module, teacher: nn.Module | Teacher) -> None:
    network = teacher if isinstance(teacher, nn.Module) else getattr(teacher, "model", None)
    if not isinstance(network, nn.Module):
        return
    ours = {id(parameter) for parameter in student.parameters()}
    if network is student or any(id(parameter) in ours for parameter in network.parameters()):
        raise ValueError(
            "student and teacher must not share parameters, as freezing the teacher would freeze "
            "the student, found shared ones; give copy.deepcopy(student) to distil it from itself."
        )


def _known_layer(widths: Mapping[str, int], layer: str | None, teacher: int) -> str:
    """The name of a chosen layer; None is the only one."""
    if layer is None and len(widths) == 1:
        return next(iter(widths))
    if layer is None:
        layer = ""
    if layer not in widths:
        known = ", ".join(map(repr, widths))
        raise ValueError(
            f"Teacher {teacher} has no layer {layer!r}; its layers are: {known[:200]}."
        )
    return layer
