"""What several processes must agree on."""

import logging
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from accelerate import Accelerator
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from vkd.errors import FieldError, UserError
from vkd.training.checkpoint import Progress

_log = logging.getLogger("vkd")


def restarts() -> int:
    """Return how often torchrun has started its processes again."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def join_again(backend: str) -> None:
    """Join the processes that torchrun has started again; a first start is left to accelerate.

    They share a store, in which torch finds the addresses of the processes that have ended, and
    waits for these in vain. So each start has a part of its own.

    Args:
        backend: as ``torch.distributed.init_process_group`` takes it.
    """
    if not restarts() or distributed.is_initialized():
        return
    store, rank, size = next(distributed.rendezvous("env://"))
    own = distributed.PrefixStore(f"start-{restarts()}", store)
    distributed.init_process_group(backend, store=own, rank=rank, world_size=size)


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


def adapted(
    progress: Progress, folder: Path, steps: int, accumulation: int, accelerator: Accelerator
) -> Progress:
    """Return the progress of a run that had another number of processes, as those of now count.

    Schedules go by updates. What differs is said.

    Args:
        progress: of the state that the run goes on from.
        folder: of the run.
        steps: batches of an epoch, for each process of now.
        accumulation: batches of an update.
        accelerator: of the processes.
    """
    now, batch = accelerator.num_processes, 0
    if progress.batch:
        # To a whole update, before the last: some pictures may come twice.
        batch = min(progress.batch * progress.processes // now, steps - 1)
        batch -= batch % accumulation
    updates = progress.epoch * math.ceil(steps / accumulation) + batch // accumulation
    if accelerator.is_main_process:
        _log.warning(
            "The run in %s had %s processes and now has %s. It goes on at epoch %s, batch %s, and "
            "update %s, after %s before; rate and updates follow these, so that the run is not "
            "what it would have been, and later records of steps.jsonl are dropped.",
            folder, progress.processes, now, progress.epoch + 1, batch + 1, updates,
            progress.updates,
        )  # fmt: skip
    return replace(progress, batch=batch, updates=updates, processes=now)
