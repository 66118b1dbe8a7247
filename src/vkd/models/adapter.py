"""What knows the checkpoints of one family of models."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

State = dict[str, Tensor]


def keep_whole(state: State) -> tuple[State, State]:
    """Return weights that hold no projections, and none."""
    return state, {}


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """Reads one family's checkpoints.

    Attributes:
        recognises: whether weights are of the family.
        architecture: the name of the model that weights are of, empty for none of ours, and the
            keyword arguments with which it fits them.
        split: the model's weights, and those of the projections that a release trained beside it.
    """

    recognises: Callable[[State], bool]
    architecture: Callable[[State], tuple[str, dict[str, Any]]]
    split: Callable[[State], tuple[State, State]] = keep_whole
