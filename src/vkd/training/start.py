"""Where a run starts that another program's training began."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import Tensor, nn

from vkd.training.optimization import load_optimizer

Moments = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a trainer starts with, beside the weights that its task's networks have.

    Attributes:
        epoch: finished epochs.
        averaged: weights of the task's model, for their average; empty to start it with the
            model's own.
        moments: AdamW's state (``step``, ``exp_avg``, ``exp_avg_sq``) of parameters of the task's
            first module, by their names in it.
        scaler: the state of the gradients' scaler; empty for a new one.
    """

    epoch: int
    averaged: Mapping[str, Tensor] = field(default_factory=dict)
    moments: Mapping[str, Moments] = field(default_factory=dict)
    scaler: Mapping[str, Any] = field(default_factory=dict)

    def take_over(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        average: nn.Module | None,
        accelerator: Accelerator,
    ) -> list[str]:
        """Give it to what is trained.

        Args:
            module: the task's first.
            optimizer: of its parameters.
            average: the model of averaged weights, where they are averaged.
            accelerator: of the processes.

        Returns:
            What was taken over, and what could not be.
        """
        # Of a sharded model no process has the whole parameters that moments are of.
        is_whole = accelerator.distributed_type != DistributedType.FSDP
        taken = load_moments(optimizer, module, self.moments if is_whole else {})
        count = sum(1 for _ in module.parameters())
        moved = f"moments of {taken:,} of {count:,} parameters are taken over"
        if self.moments and not taken:
            moved += "; they are for AdamW's kind, and for models that are not sharded"
        notes = [f"goes on with epoch {self.epoch + 1}", moved]
        if average is not None and self.averaged:
            average.load_state_dict(self.averaged)
        elif average is not None:
            notes.append("it has no averaged weights, so their average starts with the weights")
        if self.scaler and accelerator.scaler is not None:
            accelerator.scaler.load_state_dict(dict(self.scaler))
        elif self.scaler:
            notes.append("its scale of gradients is left out, as this run is not in fp16")
        return notes


def load_moments(
    optimizer: torch.optim.Optimizer, module: nn.Module, moments: Mapping[str, Moments]
) -> int:
    """Give an optimiser of AdamW's kind its state of a module's parameters; it keeps its rates.

    Args:
        optimizer: of the module's parameters.
        module: names them.
        moments: by name; those of no such name or shape are left out.

    Returns:
        How many parameters got theirs; 0 for an optimiser of another kind.
    """
    if not isinstance(optimizer, torch.optim.Adam):
        return 0
    fitting = {
        parameter: moments[name]
        for name, parameter in module.named_parameters()
        if name in moments and moments[name]["exp_avg"].shape == parameter.shape
    }
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state = optimizer.state_dict()
    state["state"] = {
        # Cloned, as the optimiser writes into what it is given.
        place: {name: value.clone() for name, value in fitting[parameter].items()}
        for place, parameter in enumerate(parameters)
        if parameter in fitting
    }
    load_optimizer(optimizer, state)
    return len(state["state"])
