"""The fields of a recipe, each with the reason for its value."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import torch

from vkd.config import TrainingConfig
from vkd.errors import FieldError, UserError
from vkd.init.data import Kind, drafting_of
from vkd.init.facts import facts_of, weights_of
from vkd.recipe import config_of
from vkd.tasks import TASKS
from vkd.training.drafting import Choice, DraftRequest, photograph_side
from vkd.training.pace import cores
from vkd.training.spec import resolve


@dataclass(frozen=True)
class Draft:
    """A recipe in the making.

    Attributes:
        task: its name.
        request: what the recipe is for.
        fixed: choices of data, networks and machine.
        decided: what the user or a measurement has decided, in place of the task's choices.
    """

    task: str
    request: DraftRequest
    fixed: tuple[Choice, ...]
    decided: tuple[Choice, ...] = ()

    def deciding(self, choice: Choice) -> "Draft":
        """Return the draft with a choice decided; others follow it."""
        request = self.request
        if choice.field in ("epochs", "batch_size"):
            request = replace(request, **{choice.field: choice.value})
        others = tuple(other for other in self.decided if other.field != choice.field)
        return replace(self, request=request, decided=(*others, choice))

    @cached_property
    def choices(self) -> dict[str, Choice]:
        """The choices by field."""
        own = resolve(drafting_of(self.task).choices)(self.request)
        return {choice.field: choice for choice in (*self.fixed, *own, *self.decided)}

    @cached_property
    def config(self) -> TrainingConfig:
        """The recipe.

        Raises:
            UserError: if its values do not go together.
        """
        return config_of({name: choice.value for name, choice in self.choices.items()})


def draft_of(
    kind: Kind, data_path: str, teacher: str, teacher_checkpoint: str, student: str,
    given: Mapping[str, Any],
) -> Draft:  # fmt: skip
    """Return the recipe for data and a pair of networks.

    Args:
        kind: of the data.
        data_path: where they are.
        teacher, student: names of networks.
        teacher_checkpoint: the teacher's weights; empty for those that are published.
        given: fields that the user has decided.

    Raises:
        UserError: for networks that are not there or do not take the images, a field that the task
            does not have, or values that do not go together.
    """
    spec = TASKS[kind.task]
    names = [item.name for item in fields(spec.config)]
    for name in given:
        if name not in names:
            raise FieldError(name, f"has no meaning for {kind.task}.")
    weights, teacher_classes = weights_of(teacher, teacher_checkpoint)
    request = _request(kind, teacher, student, teacher_classes, names, given)
    because = f"; {kind.because}" if kind.because else ""
    fixed = (
        Choice("task", kind.task, "given", "")
        if kind.is_given
        else Choice("task", kind.task, "found", f"by the files{because}"),
        Choice("dataset", kind.dataset, "found", f"{kind.pictures:,} pictures to train on"),
        Choice("data_path", data_path, "given", ""),
        Choice("student", student, "given", ""),
        Choice("teacher", teacher, "given", ""),
        _weights(teacher, weights, teacher_checkpoint),
        *_machine(request.is_cuda),
    )
    found = Draft(kind.task, request, fixed)
    for name, value in given.items():
        found = found.deciding(Choice(name, value, "given", ""))
    return found


def _request(
    kind: Kind, teacher: str, student: str, teacher_classes: list[str], names: list[str],
    given: Mapping[str, Any],
) -> DraftRequest:  # fmt: skip
    taps = "student_layer" in names
    request = DraftRequest(
        dataset=kind.dataset,
        pictures=kind.pictures,
        classes=kind.classes,
        largest=kind.largest,
        student=facts_of("student", student, taps=False),
        teacher=facts_of("teacher", teacher, taps=False),
        teacher_classes=teacher_classes,
        is_cuda=given.get("device", "auto") in ("auto", "cuda") and torch.cuda.is_available(),
    )
    if not taps:
        return request
    side = int(given.get("input_size") or photograph_side(request).value)
    if side < request.student.side and "input_size" not in given:
        try:
            facts_of("student", student, side)
        except UserError:  # of patches that do not divide it, for example
            request = replace(request, largest=None)
            side = request.student.side
    pair = {"student": student, "teacher": teacher}
    tapped = {
        role: facts_of(role, name, side, layer=str(given.get(f"{role}_layer", "")))
        for role, name in pair.items()
    }
    return replace(request, student=tapped["student"], teacher=tapped["teacher"])


def _weights(teacher: str, weights: str, given: str) -> Choice:
    if given:
        return Choice("teacher_checkpoint", weights, "given", "")
    reason = "those that are published" if weights else f"{teacher} brings its own"
    return Choice("teacher_checkpoint", weights, "found", reason)


def _machine(is_cuda: bool) -> list[Choice]:
    if is_cuda:
        name = "bf16" if torch.cuda.is_bf16_supported() else "fp16"
        return [
            Choice("workers", min(16, cores()), "found", f"this process may use {cores()} cores"),
            Choice("mixed_precision", name, "found", "this GPU computes in it; it halves memory"),
        ]
    reason = "on a CPU the steps take the cores; one process reads ahead"
    return [Choice("workers", min(1, cores() - 1), "guessed", reason)]
