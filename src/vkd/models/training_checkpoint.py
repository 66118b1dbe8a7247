"""The paper's release's own checkpoints of training, to go on from."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vkd.errors import UserError, shortened
from vkd.models.adapter import State
from vkd.models.checkpoints import Checkpoint, as_checkpoint, recognised
from vkd.models.wrappers import below

Moments = dict[str, Tensor]
_MOMENTS = ("exp_avg", "exp_avg_sq")
_SCALER = {"scale", "growth_factor", "backoff_factor", "growth_interval", "_growth_tracker"}
_AVERAGED = "student_ema."
_BODY = "backbone."
# Of the floating-point tensors in a state, those that are no parameters.
_BUFFER = re.compile(r".*\.(running_mean|running_var|attn_mask|parametrizations\.\w+\.0\.base)$")


@dataclass(frozen=True)
class TrainingCheckpoint:
    """What a training run of the release can be gone on with.

    Attributes:
        weights: of the student, and of the projections.
        averaged: the student's averaged weights by our names; empty where there are none.
        moments: of AdamW, ``exp_avg``, ``exp_avg_sq`` and ``step``, by our names.
        projection_moments: the same of scales and shifts of projections, by their names in
            ``weights.projections``.
        scaler: the state of the gradients' scaler; empty where there is none.
        epoch: the number that the file has for its epoch; the first is 0.
        notes: what of the moments could not be taken over.
    """

    weights: Checkpoint
    averaged: State
    moments: dict[str, Moments]
    projection_moments: dict[str, Moments]
    scaler: dict[str, Any]
    epoch: int
    notes: list[str]

    @property
    def finished(self) -> int:
        """The number of epochs that are finished."""
        return self.epoch + 1


class _Parameter(NamedTuple):
    """A parameter of the release's.

    Attributes:
        key: its first name there.
        shape: its shape.
        names: all its names here.
        projection: its names among the projections.
    """

    key: str
    shape: torch.Size
    names: list[str]
    projection: list[str]

    @property
    def is_flat(self) -> bool:
        """Whether the release's groups take it for a bias or norm."""
        return len(self.shape) <= 1 or self.key.endswith(".bias")


def read_training_checkpoint(path: str | Path | Checkpoint) -> TrainingCheckpoint:
    """Read a checkpoint that the release's training wrote, without running its code.

    Args:
        path: the file, or a checkpoint that was read.

    Raises:
        UserError: if it is none.
    """
    read = as_checkpoint(path)
    epoch = read.beside.get("epoch")
    if not isinstance(epoch, int) or isinstance(epoch, bool) or epoch < 0:
        found = "has none" if epoch is None else f"has {shortened(repr(epoch), 40)}"
        raise UserError(
            f"{shortened(read.file, 120)} is no checkpoint of the release's training to go on "
            f"from: expected its epoch, a whole number from 0; it {found}."
        )
    pairs, notes = _moments(read.beside.get("optimizer"), _parameters(read))
    moments = {name: moment for parameter, moment in pairs for name in parameter.names}
    scales = {name: moment for parameter, moment in pairs for name in parameter.projection}
    scaler = read.beside.get("scaler")
    scaler = dict(scaler) if isinstance(scaler, Mapping) else {}
    return TrainingCheckpoint(
        weights=read,
        averaged=_averaged(read),
        moments=moments,
        projection_moments=scales,
        scaler=scaler if scaler.keys() >= _SCALER else {},
        epoch=epoch,
        notes=notes,
    )


def _averaged(read: Checkpoint) -> State:
    stored = below(read.stored, _AVERAGED)
    if not stored:
        return {}
    adapter, prefix = recognised(stored, "")
    return adapter.split(below(stored, prefix))[0]


def _parameters(read: Checkpoint) -> list[_Parameter]:
    """The release's parameters in the order of ``named_parameters``, each once."""
    state = below(read.stored, read.prefix)
    weights, projections = (_names_of(part) for part in read.adapter.split(state))
    one_name = read.adapter.one_name(state)
    found: dict[str, _Parameter] = {}
    for key, value in state.items():
        if value.is_floating_point() and not _BUFFER.match(key):
            parameter = found.setdefault(one_name(key), _Parameter(key, value.shape, [], []))
            parameter.names.extend(weights.get(id(value), []))
            parameter.projection.extend(projections.get(id(value), []))
    return list(found.values())


def _names_of(state: State) -> dict[int, list[str]]:
    """The names of each tensor, which an adapter hands on as the same object."""
    found: dict[int, list[str]] = {}
    for name, value in state.items():
        found.setdefault(id(value), []).append(name)
    return found


def _selections(parameters: list[_Parameter]) -> Iterator[list[_Parameter]]:
    """The parts of a model that the release has optimiser groups of."""
    places: tuple[Callable[[_Parameter], bool], ...] = (
        lambda parameter: True,
        lambda parameter: not parameter.key.startswith(_BODY),
        lambda parameter: parameter.key.startswith(_BODY),
    )
    kinds: tuple[Callable[[_Parameter], bool], ...] = (
        lambda parameter: True,
        lambda parameter: parameter.is_flat,
        lambda parameter: not parameter.is_flat,
    )
    for is_there in places:
        for is_kind in kinds:
            yield [p for p in parameters if is_there(p) and is_kind(p)]


def _moments(
    optimizer: Any, parameters: list[_Parameter]
) -> tuple[list[tuple[_Parameter, Moments]], list[str]]:
    """Parameters with their moments in an optimiser's state, and what is to be said of the others.

    A state knows its parameters by place alone. Each group is of the selection whose number and
    shapes agree with it; no order of groups is assumed.
    """
    if not isinstance(optimizer, Mapping) or not isinstance(optimizer.get("state"), Mapping):
        return [], ["it has no state of an optimiser, so moments start anew"]
    state, groups = optimizer["state"], optimizer.get("param_groups")
    groups = groups if isinstance(groups, Sequence) else []
    selections = list(_selections(parameters))
    placed: dict[int, _Parameter] = {}
    used: set[str] = set()
    for group in groups:
        places = _places(group)
        chosen = next((s for s in selections if _agrees(places, s, state, used)), None)
        if chosen is not None:
            placed |= dict(zip(places, chosen, strict=True))
            used |= {parameter.key for parameter in chosen}
    found = [(p, _of(state[place])) for place, p in placed.items() if place in state]
    nameless = sum(not (parameter.names or parameter.projection) for parameter, _ in found)
    return found, _notes(len(state), len(found), nameless)


def _places(group: Any) -> list[int]:
    """The places of a group's parameters; none of what is no group."""
    places = group.get("params") if isinstance(group, Mapping) else None
    is_group = isinstance(places, Sequence) and all(isinstance(place, int) for place in places)
    return list(places) if is_group and places is not None else []


def _agrees(
    places: list[int], selection: list[_Parameter], state: Mapping[Any, Any], used: set[str]
) -> bool:
    """Whether a group can be of some parameters, none of which is of another group."""
    if not places or len(places) != len(selection):
        return False
    pairs = zip(places, selection, strict=True)
    return all(
        parameter.key not in used and (place not in state or _fits(state[place], parameter.shape))
        for place, parameter in pairs
    )


def _fits(entry: Any, shape: torch.Size) -> bool:
    """Whether a parameter's entry in a state is AdamW's, for a shape."""
    if not isinstance(entry, Mapping):
        return False
    step = entry.get("step")
    if not (step.numel() == 1 if isinstance(step, Tensor) else isinstance(step, int | float)):
        return False
    values = [entry.get(name) for name in _MOMENTS]
    return all(isinstance(value, Tensor) and value.shape == shape for value in values)


def _of(entry: Mapping[str, Any]) -> Moments:
    # Of earlier versions of torch, the step is a number.
    step = torch.as_tensor(entry["step"], dtype=torch.float32).reshape(())
    return {"step": step} | {name: entry[name] for name in _MOMENTS}


def _notes(stored: int, placed: int, nameless: int) -> list[str]:
    if not stored:
        return ["its optimiser has no moments, so they start anew"]
    notes = []
    if placed < stored:
        notes.append(
            f"moments of {stored - placed:,} of {stored:,} parameters are not taken over, as "
            "their groups agree with none of the release's"
        )
    if nameless:
        notes.append(
            f"moments of {nameless:,} of {stored:,} parameters have nothing here to belong to: "
            "matrices of projections, which are parametrised otherwise, or what is never used"
        )
    return notes
