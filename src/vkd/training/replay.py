"""A step that has failed, taken again with a check of every layer."""

import warnings
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device
from torch import Tensor, nn

from vkd.training.failures import Kept, is_finite, text_of
from vkd.training.gradients import loss_scale, spoilt_parameters, total_norm
from vkd.training.layer_checks import (
    LayerChecks,
    LayerFault,
    failing_operation,
    layer_names,
)
from vkd.training.state import set_random_states


@dataclass(kw_only=True)
class Replayed:
    """What a step gave when it was taken again.

    Attributes:
        folder: of the failure.
        what: had failed, when, and of which pictures.
        epoch, update: of the run, from 1.
        pictures: of the batch.
        terms: the loss terms by name: as recorded, and as found now.
        gradient_norm: likewise.
        gradient_norms: of each trained part now, by its name.
        output: the first layer whose output is no finite number.
        gradient: the first, on the way back, whose output has such a gradient.
        parameters: those whose gradients are no finite numbers.
        operation: of autograd, whose gradient is the first to be nan; empty where none is.
        is_reproduced: whether the same terms, or the gradient, are no finite numbers again.
    """

    folder: str
    what: str
    epoch: int
    update: int
    pictures: list[str]
    terms: dict[str, tuple[str, str]]
    gradient_norm: tuple[str, str]
    gradient_norms: dict[str, str]
    output: LayerFault | None = None
    gradient: LayerFault | None = None
    parameters: list[str] = field(default_factory=list)
    operation: str = ""
    is_reproduced: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as JSON takes it; numbers are text, as JSON has no nan."""
        return asdict(self)


def replay_step(
    kept: Kept, batch: Any, modules: list[nn.Module], accelerator: Accelerator
) -> Replayed:
    """Take a failed step again.

    Args:
        kept: its batch, random numbers and weights.
        batch: another of the run, which tells how batches are nested.
        modules: of the run, as accelerate has prepared them; get the weights of before the step.
        accelerator: of the device.

    Raises:
        UserError: if what was kept is damaged, or of another network.
    """
    failure, device = kept.failure, accelerator.device
    own = [accelerator.unwrap_model(module) for module in modules]
    restore(kept, own)
    given = send_to_device(kept.batch(batch), device)
    module = modules[failure.step].train()
    checks = LayerChecks(layer_names(own))
    terms = _take(kept, module, given, accelerator, checks)
    scale = loss_scale(accelerator)
    norm = total_norm(module) if scale is None else total_norm(module) / scale
    part = own[failure.step]
    found = Replayed(
        folder=str(kept.folder),
        what=failure.what,
        epoch=failure.epoch,
        update=failure.update,
        pictures=failure.pictures,
        terms={name: (failure.terms.get(name, ""), text_of(term)) for name, term in terms.items()},
        gradient_norm=(failure.gradient_norm, text_of(norm)),
        gradient_norms=_norms(part),
        output=checks.output,
        gradient=checks.gradient,
        parameters=spoilt_parameters(part),
    )
    found.is_reproduced = _is_same(found)
    if not bool(norm.isfinite()) and all(is_finite(now) for _, now in found.terms.values()):
        restore(kept, own)
        found.operation = _operation(kept, module, given, accelerator)
    return found


def restore(kept: Kept, modules: list[nn.Module]) -> None:
    """Give modules the weights that were kept, where they were."""
    for step, module in enumerate(modules):
        module.zero_grad()
        if kept.failure.has_weights:
            kept.load_weights(module, step)


def _take(
    kept: Kept, module: nn.Module, batch: Any, accelerator: Accelerator, checks: LayerChecks
) -> dict[str, Tensor]:
    """The loss terms of the step, after its way back."""
    set_random_states(kept.random_states())
    with torch.compiler.set_stance("force_eager"), checks.watching():
        terms: dict[str, Tensor] = module(batch)
        accelerator.backward(torch.stack(list(terms.values())).sum())
    return terms


def _operation(kept: Kept, module: nn.Module, batch: Any, accelerator: Accelerator) -> str:
    """The operation whose gradient is the first to be nan, by torch's anomaly mode."""
    try:
        # It warns of itself, and prints the traceback that it has found.
        with warnings.catch_warnings(action="ignore"), torch.autograd.detect_anomaly():
            _take(kept, module, batch, accelerator, LayerChecks({}))
    except RuntimeError as error:
        return failing_operation(error)
    return ""


def _norms(module: nn.Module) -> dict[str, str]:
    """Norms of the gradients of each direct part of a module, and of parts of those."""
    squares: dict[str, Tensor] = {}
    for name, parameter in module.named_parameters():
        if parameter.grad is not None:
            part = ".".join(name.split(".")[:2])
            square = parameter.grad.detach().float().square().sum()
            squares[part] = squares.get(part, torch.zeros_like(square)) + square
    return {name: text_of(square.sqrt()) for name, square in squares.items()}


def _is_same(found: Replayed) -> bool:
    before = {name for name, (then, _) in found.terms.items() if then and not is_finite(then)}
    now = {name for name, (_, value) in found.terms.items() if not is_finite(value)}
    if before or now:
        return before == now
    return not is_finite(found.gradient_norm[1])
