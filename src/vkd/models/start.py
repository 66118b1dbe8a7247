"""Weights for a network to start from, whose heads may be of other classes."""

from pathlib import Path

from torch import nn

from vkd.errors import UserError, shortened
from vkd.models.checkpoints import Checkpoint, FittedWeights, as_checkpoint
from vkd.models.factory import HUB, create_model
from vkd.notes import say

_MOST_LISTED = 5


def start_from(model: nn.Module, name: str, checkpoint: str | Path | Checkpoint) -> None:
    """Load all weights of a checkpoint that fit a network, and say which parts start anew.

    Args:
        model: the network.
        name: of the model, whose published weights ``hub`` stands for.
        checkpoint: weights file, run folder, a checkpoint that was read, or ``hub``.

    Raises:
        UserError: if it is no checkpoint, or less than half of the network's numbers are in it,
            as of another network.
        RunError: if the hub cannot be reached.
    """
    expected = model.state_dict()
    if checkpoint == HUB:
        source, found = HUB, FittedWeights(create_model(name, HUB).state_dict(), [])
    else:
        read = as_checkpoint(checkpoint)
        source, found = str(read.file), read.fitted(expected)
    fitting = {
        key: found.state[key]
        for key, value in expected.items()
        if key in found.state and found.state[key].shape == value.shape
    }
    taken = sum(value.numel() for value in fitting.values())
    whole = sum(value.numel() for value in expected.values())
    if 2 * taken < whole:
        raise UserError(
            f"{shortened(source, 120)} has {len(fitting)} of the {len(expected)} tensors of "
            f"{shortened(name, 60)}, with {taken / whole:.0%} of its numbers; these are weights of "
            "another model."
        )
    model.load_state_dict(fitting, strict=False)
    anew = [key for key in expected if key not in fitting]
    more = f" and {len(anew) - _MOST_LISTED} more" if len(anew) > _MOST_LISTED else ""
    begun = f"; {', '.join(anew[:_MOST_LISTED])}{more} start anew" if anew else ""
    start = f"{name} starts from it: {len(fitting)} of {len(expected)} tensors are taken{begun}"
    say(source, [*found.notes, start])
