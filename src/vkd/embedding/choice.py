"""The teachers that a recipe chooses, each with its pairs of layers and its weight."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from vkd.errors import FieldError, nearest

_KEYS = ("name", "checkpoint", "layer", "layers", "weight")


@dataclass(frozen=True, kw_only=True)
class TeacherChoice:
    """A teacher of a recipe.

    Attributes:
        field: where the recipe names it, for messages.
        name: of the network.
        checkpoint: its weights.
        layers: pairs of the student's and its own layers; empty names stand for the networks'
            embeddings, or in dense distillation for their last layers.
        weight: of its losses.
    """

    field: str
    name: str
    checkpoint: str
    layers: Mapping[str, str]
    weight: float = 1.0


class TeacherFields(Protocol):
    """The fields of a recipe that choose teachers."""

    teacher: str
    teacher_checkpoint: str
    teacher_layer: str
    student_layer: str
    layers: dict[str, str]
    teachers: list[dict[str, Any]]


def chosen_teachers(fields: TeacherFields) -> list[TeacherChoice]:
    """Return the teachers of a recipe, one where ``teachers`` names none.

    Raises:
        FieldError: for an entry of ``teachers`` with other keys or values than these have.
    """
    if fields.teachers:
        entries = enumerate(fields.teachers)
        return [_entry(f"teachers[{number}]", entry, fields) for number, entry in entries]
    layers = fields.layers or {fields.student_layer: fields.teacher_layer}
    return [
        TeacherChoice(
            field="teacher",
            name=fields.teacher,
            checkpoint=fields.teacher_checkpoint,
            layers=layers,
        )
    ]


def _entry(place: str, entry: Mapping[str, Any], fields: TeacherFields) -> TeacherChoice:
    for key in entry:
        if key not in _KEYS:
            raise FieldError(
                "teachers", f"has {key!r}, which is none of {', '.join(_KEYS)}{nearest(key, _KEYS)}"
            )
    if not entry.get("name"):
        raise FieldError("teachers", f"has an entry without a name: {str(dict(entry))[:80]}.")
    if entry.get("layer") and entry.get("layers"):
        raise FieldError("teachers", f"has both layer and layers of {entry['name']}; give one.")
    weight = entry.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or weight < 0:
        raise FieldError("teachers", f"must have a weight of at least 0, found {weight!r}.")
    return TeacherChoice(
        field=place,
        name=str(entry["name"]),
        checkpoint=str(entry.get("checkpoint") or ""),
        layers=_layers(entry, fields),
        weight=float(weight),
    )


def _layers(entry: Mapping[str, Any], fields: TeacherFields) -> dict[str, str]:
    """The pairs of layers of an entry: its own, else those of all teachers."""
    own = entry.get("layers")
    if own is not None and not (isinstance(own, Mapping) and own):
        raise FieldError("teachers", f"must have layers such as {{norm: layer4}}, found {own!r}.")
    if own:
        return {str(student): str(teacher) for student, teacher in own.items()}
    layer = str(entry.get("layer") or "")
    if fields.layers and layer:
        raise FieldError("teachers", f"has layer {layer!r} beside layers; give {{...}} as layers.")
    return dict(fields.layers) or {fields.student_layer: layer}
