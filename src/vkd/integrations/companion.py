"""What the integrations share: losses that train inside a network but are none of its weights."""

import inspect
from typing import Any

from torch import nn

from vkd.distiller import Distiller
from vkd.features import Inputs

# The attribute by which a network holds its companion.
NAME = "distillation_losses"


class Companion(nn.Module):
    """Losses whose parameters train as those of a network that holds this as a submodule.

    Optimisers, clipping and DistributedDataParallel find them there. The network's ``state_dict``
    leaves them out, and its ``load_state_dict`` does not miss them: its weights files stay those of
    the network alone. ``losses.state_dict()`` is what to save beside them.

    Args:
        losses: of a ``Distiller``.
    """

    def __init__(self, losses: nn.Module) -> None:
        super().__init__()
        self.losses = losses
        self.register_state_dict_post_hook(_omit)
        self.register_load_state_dict_pre_hook(_complete)


def _omit(module: nn.Module, state: dict[str, Any], prefix: str, *rest: Any) -> None:
    """Take what a network's ``state_dict`` got of its companion out again."""
    for key in [key for key in state if key.startswith(prefix)]:
        del state[key]


def _complete(module: nn.Module, state: dict[str, Any], prefix: str, *rest: Any) -> None:
    """Hand the companion the values that it has, as a network's weights have none for it."""
    state.update(
        (f"{prefix}{name}", value)
        for name, value in (*module.named_parameters(), *module.named_buffers())
    )


def split_options(keywords: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the keyword arguments that ``Distiller`` takes beside its networks, and the others."""
    known = set(inspect.signature(Distiller).parameters) - {"student", "teacher"}
    ours = {name: value for name, value in keywords.items() if name in known}
    return ours, {name: value for name, value in keywords.items() if name not in known}


def inputs_of_call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Inputs:
    """Return what a network was called with, as a ``Distiller`` takes it.

    A single input is returned by itself, so that a network that names it otherwise can be the
    teacher.

    Raises:
        ValueError: for inputs by position and by keyword together, or none.
    """
    if len(args) + len(kwargs) == 1:
        return next(iter((*args, *kwargs.values())))
    if bool(args) == bool(kwargs):
        raise ValueError(
            "The student must be called with inputs by position or by keyword, found "
            f"{len(args)} by position and {', '.join(kwargs) or 'none'} by keyword."
        )
    return args or kwargs
