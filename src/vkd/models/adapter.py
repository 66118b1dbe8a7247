"""What knows the checkpoints of one family of models."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

State = dict[str, Tensor]


def nothing_told(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return no keyword arguments."""
    return {}


def keep_whole(state: State) -> tuple[State, State]:
    """Return weights that hold no projections, and none."""
    return state, {}


def keep_name(state: State) -> Callable[[str], str]:
    """Return what leaves names as they are, of weights that are each stored once."""
    return str


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """Reads one family's checkpoints.

    Attributes:
        recognises: whether weights are of the family, whatever their shapes.
        dimensions: how many those tensors have by whose shapes the family tells its models.
        architecture: the name of the model that weights are of, empty for none of ours, and the
            keyword arguments with which it fits them; raises ``UserError`` for shapes of none.
        told_by_flags: the keyword arguments that a release's record of its flags tells, where
            shapes do not.
        one_name: of weights, what maps the name of each to one of all the names that it is stored
            under.
        split: the model's weights by our names, and those of the projections that a release trained
            beside it; raises ``UserError`` for projections that lack a part.
    """

    recognises: Callable[[State], bool]
    dimensions: Mapping[str, int] = field(default_factory=dict)
    architecture: Callable[[State], tuple[str, dict[str, Any]]]
    told_by_flags: Callable[[Mapping[str, Any]], dict[str, Any]] = nothing_told
    one_name: Callable[[State], Callable[[str], str]] = keep_name
    split: Callable[[State], tuple[State, State]] = keep_whole
