"""Optimisers and schedules, by timm."""

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from timm.optim import (
    create_optimizer_v2,
    get_optimizer_class,
    list_optimizers,
    param_groups_weight_decay,
)
from timm.scheduler import create_scheduler_v2
from timm.scheduler.scheduler import Scheduler
from torch import Tensor, nn

from vkd.config import TrainingConfig
from vkd.errors import FieldError, nearest
from vkd.training.task import TrainingModule

# Those whose fused step runs on all devices; Adagrad's runs on the CPU alone in some versions.
_FUSED = (torch.optim.AdamW, torch.optim.Adam, torch.optim.SGD)


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load an optimiser's state, laid out in memory as its parameters are.

    torch keeps the layout of what is loaded, and its fused steps go through weights and moments in
    the order of memory: with contiguous moments and channels-last weights they would mix them up.

    Args:
        optimizer: to load into; may be accelerate's.
        state: of ``optimizer.state_dict()``.

    Raises:
        ValueError: if it is of another optimiser, or no such state.
    """
    names = [set(group) for group in optimizer.param_groups]
    _check_settings(optimizer.param_groups, state["param_groups"])
    _check_moments(state["state"])
    optimizer.load_state_dict(state)
    missing = set().union(*map(set.difference, names, map(set, optimizer.param_groups)))
    if missing:
        raise ValueError(f"it lacks the setting {min(missing)}")
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            own = optimizer.state.get(parameter, {})
            for name, value in own.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    own[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _check_settings(own: Sequence[Mapping[str, Any]], saved: Sequence[Mapping[str, Any]]) -> None:
    """Raise ``ValueError`` for a saved setting of another kind than the optimiser's own."""
    for ours, theirs in zip(own, saved, strict=True):
        # Of the weights there are numbers in a saved one.
        for name in (ours.keys() & theirs.keys()) - {"params"}:
            if not _is_alike(ours[name], theirs[name]):
                kinds = [type(group[name]).__name__ for group in (theirs, ours)]
                raise ValueError(f"{name} is a {kinds[0]}, not a {kinds[1]}")


def _is_alike(ours: Any, theirs: Any) -> bool:
    if type(ours) in (int, float):
        return type(theirs) in (int, float) and math.isfinite(theirs)
    if isinstance(ours, tuple | list):
        return (
            isinstance(theirs, tuple | list)
            and len(ours) == len(theirs)
            and all(map(_is_alike, ours, theirs))
        )
    # A choice that a device may make, such as whether a step is fused.
    is_choice = ours is None or isinstance(ours, bool)
    return theirs is None or isinstance(theirs, bool) if is_choice else type(ours) is type(theirs)


def _check_moments(state: Mapping[int, Mapping[str, Any]]) -> None:
    """Raise ``ValueError`` if what is remembered of a weight is a tensor for some of them alone."""
    kinds: dict[str, bool] = {}
    for moments in state.values():
        for name, value in moments.items():
            if kinds.setdefault(name, isinstance(value, Tensor)) != isinstance(value, Tensor):
                raise ValueError(f"{name} is no tensor for every weight")


def check_training(config: TrainingConfig) -> None:
    """Raise ``FieldError`` for an optimiser or schedule that is not available."""
    known = [str(name) for name in list_optimizers()]
    if config.optimizer not in known:
        hint = nearest(config.optimizer, known)
        raise FieldError("optimizer", f"{config.optimizer} is none of timm's{hint}")
    field, value = "optimizer", config.optimizer
    try:
        optimizer = create_optimizer(_Trial(), config, config.lr)
        field, value = "schedule", config.schedule
        create_schedule(optimizer, config, config.lr, updates_per_epoch=1)
    except (AssertionError, ImportError, TypeError, ValueError) as error:
        raise FieldError(field, f"{value} cannot be had: {error}") from error


class _Trial(TrainingModule):
    """A module to try an optimiser with."""

    def __init__(self) -> None:
        super().__init__()
        self.student = nn.Linear(1, 1)


def create_optimizer(
    module: TrainingModule, config: TrainingConfig, lr: float, fused: bool = True
) -> torch.optim.Optimizer:
    """Return the optimiser of a module, with the decay and rates that the module declares.

    Args:
        module: what to train.
        config: names the optimiser.
        lr: peak learning rate.
        fused: take torch's fused step where there is one.

    Raises:
        ValueError: if the optimiser has no such option.
    """
    kind = get_optimizer_class(config.optimizer, bind_defaults=False)
    known = inspect.signature(kind).parameters
    # A fused step is faster; not all of torch's can be sharded.
    options: dict[str, Any] = {"fused": True} if fused and kind in _FUSED else {}
    if config.beta1 != 0.9:
        if "betas" not in known:
            raise ValueError("it has no beta1")
        options["betas"] = (config.beta1, 0.999)
    groups = parameter_groups(module, config.weight_decay, lr, config.decayed == "all")
    return create_optimizer_v2(groups, opt=config.optimizer, lr=lr, weight_decay=0.0, **options)


def parameter_groups(
    module: TrainingModule, weight_decay: float, lr: float, decays_all: bool = False
) -> list[dict]:
    """Return the trained parameters, grouped by their weight decay and their learning rate.

    Args:
        module: what to train.
        weight_decay: of those that are decayed.
        lr: peak learning rate.
        decays_all: spare what ``module.never_decayed()`` names alone; otherwise biases, norms and
            what ``module.undecayed()`` names.
    """
    if weight_decay and not decays_all:
        groups = param_groups_weight_decay(
            module, weight_decay, no_weight_decay_list=module.undecayed()
        )
    else:
        trained = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        never = module.never_decayed() if weight_decay else set()
        parts = (
            (weight_decay, [p for name, p in trained if name not in never]),
            (0.0, [p for name, p in trained if name in never]),
        )
        groups = [{"params": part, "weight_decay": decay} for decay, part in parts if part]
    scales = {parameter: module.lr_scale(name) for name, parameter in module.named_parameters()}
    if set(scales.values()) == {1.0}:
        return groups
    # timm's schedules multiply the rate of a group by its lr_scale.
    return [
        group | {"params": chosen, "lr": lr * scale, "lr_scale": scale}
        for group in groups
        for scale in sorted(set(scales.values()))
        if (chosen := [p for p in group["params"] if scales[p] == scale])
    ]


def create_schedule(
    optimizer: torch.optim.Optimizer, config: TrainingConfig, lr: float, updates_per_epoch: int
) -> Scheduler:
    """Return the schedule of a config.

    Raises:
        ValueError: for a schedule without one.
    """
    scheduler, _ = create_scheduler_v2(
        optimizer,
        config.schedule,
        num_epochs=config.epochs - config.warmup_epochs,
        warmup_epochs=config.warmup_epochs,
        warmup_lr=config.warmup_lr or lr / 100,
        warmup_prefix=True,
        min_lr=config.min_lr,
        decay_epochs=config.decay_epochs or None,
        decay_rate=config.decay_rate,
        step_on_epochs=config.schedule_step == "epoch",
        updates_per_epoch=updates_per_epoch,
    )
    if scheduler is None:
        raise ValueError("its rate would never change; constant is a schedule too")
    return scheduler
