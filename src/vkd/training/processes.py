"""What several processes must agree on."""

import logging
from pathlib import Path
from typing import Protocol, runtime_checkable

from accelerate import Accelerator
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from vkd.errors import FieldError, UserError
from vkd.training.checkpoint import Progress

_log = logging.getLogger("vkd")


@runtime_checkable
class KeepsBuffersEqual(Protocol):
    """A module that keeps some of its buffers equal on all processes by itself."""

    def buffers_kept_equal(self) -> set[str]: ...


def leave_equal_buffers(module: nn.Module) -> None:
    """Tell DDP, before it wraps ``module``, to leave alone what parts of it keep equal.

    DDP would send them from the first process at every step: 1.3 GB of a memory of ImageNet.
    """
    names = [
        f"{prefix}.{name}".removeprefix(".")
        for prefix, part in module.named_modules()
        if isinstance(part, KeepsBuffersEqual)
        for name in sorted(part.buffers_kept_equal())
    ]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(module, names)


def share_buffers(model: nn.Module) -> None:
    """Give every process the first one's buffers of a model that no DDP wraps.

    Batch statistics are of a process's own images, and all processes must evaluate one model.
    """
    if distributed.is_initialized():
        for buffer in model.buffers():
            distributed.broadcast(buffer, src=0)


def require_gradients(module: nn.Module) -> None:
    """Raise ``UserError`` if parameters have no gradient after a step, which DDP would wait for."""
    trained = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    idle = [name.removeprefix("module.") for name, p in trained if p.grad is None]
    if idle:
        others = f" and {len(idle) - 1} others" if len(idle) > 1 else ""
        raise UserError(
            f"No loss reaches the parameter {idle[0][:80]}{others}; several processes can train "
            "only what has a gradient, so set its requires_grad to False, or use one process."
        )


def require_shared(file: Path, accelerator: Accelerator) -> None:
    """Raise ``FieldError`` on a process that does not see the first one's ``file`` in output."""
    if not accelerator.is_main_process and not file.is_file():
        raise FieldError(
            "output",
            f"{file.parent} is not there on the machine of process {accelerator.process_index}; it "
            "must be on a file system that all machines share.",
        )


def updates_now(
    folder: Path, progress: Progress, updates_per_epoch: int, accelerator: Accelerator
) -> int:
    """Return how many updates the finished epochs of a run take with today's processes.

    Schedules go by updates; where the run had more or fewer processes before, it is said.
    """
    updates = progress.epoch * updates_per_epoch
    if updates != progress.updates and accelerator.is_main_process:
        _log.warning(
            "The %s epochs of %s took %s updates, and would take %s with the %s processes of now; "
            "rate and updates follow these, so that the run is not what it would have been, and "
            "later records of steps.jsonl are dropped.",
            progress.epoch, folder, progress.updates, updates, accelerator.num_processes,
        )  # fmt: skip
    return updates
