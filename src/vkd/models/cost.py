"""What a model costs, as papers on vision models report it."""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


@runtime_checkable
class KnowsCost(Protocol):
    """A network whose operators are not torch's, and that knows what ``model_cost`` returns."""

    def cost(self) -> dict[str, float]: ...


def model_cost(model: nn.Module, *inputs: Tensor) -> dict[str, float]:
    """Return the number of ``parameters`` and of multiply-adds (``macs``) for one image.

    Multiply-adds are what papers on vision models call FLOPs. ``inputs`` are an example of what
    the model takes, a batch of one.
    """
    if isinstance(model, KnowsCost):
        return model.cost()
    device = next(model.parameters()).device
    training = model.training
    # The counter follows gradients, and stumbles over views of parameters that need one.
    detached = {name: parameter.detach() for name, parameter in model.named_parameters()}
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        placed = tuple(part.to(device) for part in inputs)
        torch.func.functional_call(model.eval(), detached, placed)
    model.train(training)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {"parameters": parameters, "macs": counter.get_total_flops() // 2}
