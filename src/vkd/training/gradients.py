"""The gradients of an update: their norm, and what of them was left out."""

from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.utils import get_total_norm


class Gradients(NamedTuple):
    """Of an update; all are scalars on the device.

    Attributes:
        norm: of all modules together, before clipping and without a loss scale.
        skipped: 1 where a module's step was left out, else 0.
        loss_scale: of fp16; None without one.
    """

    norm: Tensor
    skipped: Tensor
    loss_scale: Tensor | None = None

    def measures(self) -> dict[str, Tensor]:
        """Return what is averaged over an epoch; norms of updates that were left out are zero."""
        return {
            "gradient_norm": torch.where(self.skipped > 0, 0.0, self.norm),
            "skipped": self.skipped,
        }


def of_epoch(
    accelerator: Accelerator, measures: dict[str, float], updates: int
) -> dict[str, float]:
    """Take the means of ``Gradients.measures`` out of those of an epoch, and return what they say.

    Args:
        accelerator: has the loss scale.
        measures: means over ``updates``.
        updates: of the epoch.

    Returns:
        ``gradient_norm``, the mean of those updates that were made; ``skipped``, the number of the
        others; and ``loss_scale``, where there is one, after the last.
    """
    norm, share = measures.pop("gradient_norm", 0.0), measures.pop("skipped", 0.0)
    found: dict[str, float] = {"skipped": round(share * updates)}
    scale = loss_scale(accelerator)
    if scale is not None:
        found["loss_scale"] = float(scale)
    return found if share >= 1 else {"gradient_norm": norm / (1 - share)} | found


def gradient_norm(
    accelerator: Accelerator, module: nn.Module, optimizer: Any, clip: float
) -> Tensor:
    """Return the norm of a module's gradients, once those of an update are whole without their
    loss scale, and clipped to ``clip``.

    Args:
        accelerator: has the scale.
        module: whose gradients.
        optimizer: of the module, as accelerate has prepared it.
        clip: the largest norm to leave; 0 to leave all as they are.
    """
    is_whole = accelerator.sync_gradients
    if clip and is_whole:
        return _whole(accelerator.clip_grad_norm_(module.parameters(), clip))
    if accelerator.scaler is not None and is_whole:
        accelerator.scaler.unscale_(optimizer.optimizer)
    return total_norm(module)


def total_norm(module: nn.Module) -> Tensor:
    """Return the norm of a module's gradients as they are."""
    return _whole(get_total_norm([p.grad for p in module.parameters() if p.grad is not None]))


def _whole(norm: Any) -> Tensor:
    whole: Tensor = norm.full_tensor() if isinstance(norm, DTensor) else norm
    return whole.detach()


def spoilt_parameters(module: nn.Module) -> list[str]:
    """Return the names of the parameters whose gradients are no finite numbers; this waits."""
    found = []
    for name, parameter in module.named_parameters():
        gradient = parameter.grad
        local = gradient.to_local() if isinstance(gradient, DTensor) else gradient
        if local is not None and not bool(local.isfinite().all()):
            found.append(name)
    return found


def loss_scale(accelerator: Accelerator) -> Tensor | None:
    """Return what losses are multiplied by in fp16, on the device; None without a scale."""
    if accelerator.scaler is None:
        return None
    return accelerator.scaler.scale(torch.ones((), device=accelerator.device))


def keep_loss_scale(accelerator: Accelerator) -> None:
    """Let the loss scale be as it is after gradients that no optimiser takes."""
    if accelerator.scaler is not None:
        accelerator.scaler.update(loss_scale(accelerator))
