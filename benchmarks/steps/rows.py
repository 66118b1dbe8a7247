"""What is measured: a function by name that builds it and returns one step of it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import orthogonal

from steps import rivals
from steps.pair import Pair, Step
from vkd import OrthogonalProjection
from vkd.config import TrainingConfig
from vkd.loss import FeatureLoss
from vkd.training.accelerator import make_accelerator
from vkd.training.optimization import create_optimizer
from vkd.training.task import Task

IN_FLOAT32: dict[str, Any] = {"teacher_precision": "float32"}


class OwnStep:
    """A step as the trainer takes it: forward, backward, clipping and the optimiser's step.

    Args:
        pair: of which networks.
        config: the recipe.
        task: of the recipe.
    """

    def __init__(self, pair: Pair, config: TrainingConfig, task: Task) -> None:
        self.accelerator, self.clip_grad = make_accelerator(config), config.clip_grad
        self.batch = pair.batch(task, config)
        module = task.steps[-1].module.train()
        optimizer = create_optimizer(module, config, config.lr)
        self.module, self.optimizer = self.accelerator.prepare(module, optimizer)

    def __call__(self) -> list[Tensor]:
        """Take a step and return the loss and its terms."""
        terms = list(self.module(self.batch).values())
        total = torch.stack(terms).sum()
        self.accelerator.backward(total)
        if self.clip_grad:
            self.accelerator.clip_grad_norm_(self.module.parameters(), self.clip_grad)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return [total, *terms]


def own_task(pair: Pair, **changes: Any) -> tuple[TrainingConfig, Task]:
    """Return a pair's recipe with ``changes``, and its task."""
    config = pair.config(**changes)
    return config, pair.task(config)


def own_step(pair: Pair, **changes: Any) -> Step:
    """Return our step by a pair's recipe with ``changes``."""
    return OwnStep(pair, *own_task(pair, **changes))


def student(pair: Pair) -> Step:
    """The student by the recipe without a teacher, the unit of all others."""
    return own_step(pair, **pair.alone)


def teacher(pair: Pair) -> Step:
    """The teacher's forward pass, as a step of ours has it."""
    config, task = own_task(pair, **IN_FLOAT32)
    forward = pair.teacher_forward(task.steps[-1].module, pair.batch(task, config))
    accelerator = make_accelerator(config)

    def step() -> None:
        with accelerator.autocast():
            forward()

    return step


def network(pair: Pair) -> Step:
    """Our step with the teacher's network in float32."""
    return own_step(pair, **IN_FLOAT32)


def network_bfloat16(pair: Pair) -> Step:
    """Our step with the teacher's network in bfloat16."""
    return own_step(pair, teacher_precision="bfloat16")


def store(pair: Pair) -> Step:
    """Our step with a store of the teacher's outputs."""
    return own_step(pair, teacher_store=str(pair.folder / "store"), **pair.stored)


def release(pair: Pair) -> Step:
    """Our step with the release's projection, whose loss and terms are read at every step."""
    config, task = own_task(pair, **IN_FLOAT32)
    _replace_projections(task.steps[-1].module)
    step = OwnStep(pair, config, task)
    return lambda: [value.item() for value in step()]


def _replace_projections(module: nn.Module) -> None:
    """Put torch's orthogonal parametrisation, with its defaults, in place of our projections."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, OrthogonalProjection):
                setattr(parent, name, released_projection(child.student_dim, child.teacher_dim))


def released_projection(student_dim: int, teacher_dim: int) -> nn.Module:
    """Return the projection as the release makes it."""
    return orthogonal(nn.Linear(student_dim, teacher_dim, bias=False))


def projection(pair: Pair) -> Step:
    """Our projection, normalisation and distance, forward and backward, on features of noise."""
    return _loss_step(pair, OrthogonalProjection)


def release_projection(pair: Pair) -> Step:
    """The same with the release's projection."""
    return _loss_step(pair, released_projection)


def _loss_step(pair: Pair, make: Callable[[int, int], nn.Module]) -> Step:
    config = pair.config()
    module = pair.task(config).steps[-1].module
    sizes = module.get_submodule("methods.feature").sizes
    device = make_accelerator(config).device
    loss = FeatureLoss(make(sizes.student_dim, sizes.teacher_dim)).to(device)
    ours, theirs = (
        torch.randn(config.batch_size, dim, device=device)
        for dim in (sizes.student_dim, sizes.teacher_dim)
    )
    ours.requires_grad_()
    return lambda: loss(ours, theirs).backward()


ROWS: dict[str, Callable[[Pair], Step]] = {
    "student": student,
    "teacher": teacher,
    "network": network,
    "network-bfloat16": network_bfloat16,
    "store": store,
    "release": release,
    "timm": rivals.timm_task,
    "plain": rivals.plain_student,
    "timm-plain": rivals.timm_task_plain,
    "torchdistill": rivals.torchdistill_box,
    "projection": projection,
    "release-projection": release_projection,
}
