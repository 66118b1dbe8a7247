"""Looks at every step whether its numbers are finite, and decides what a failure does."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, gather_object
from torch import Tensor, distributed, nn
from torch.utils._pytree import tree_map_only

from vkd.config import TrainingConfig
from vkd.training.failures import Failure, StepError, keep, text_of
from vkd.training.first_failures import GRADIENT, FirstFailures
from vkd.training.gradients import Gradients, keep_loss_scale, loss_scale, spoilt_parameters
from vkd.training.state import random_states
from vkd.training.task import Task

# Updates in a row that are left out before the run fails; a loss scale of fp16, which begins at
# 65,536, has then been halved below 1.
MOST_SKIPPED = 20
# Failures that a run which skips keeps whole, for they take space.
_MOST_KEPT = 10


class Guard:
    """Guards the steps of a run against losses and gradients that are no finite numbers.

    On the CPU, and where failures are skipped, the values of each step are read, on all processes
    alike: its batch is at hand and the weights stay as they were. Elsewhere the device notes the
    first update that failed, so that no step waits, and ``check`` reads it. A gradient of fp16 that
    overflows fails only after ``MOST_SKIPPED`` in a row, as its loss scale adapts.

    Args:
        task: names the samples of a batch.
        modules: what is trained, as accelerate has prepared it.
        accelerator: of the processes.
        config: ``on_failure``.
        folder: the run folder.

    Attributes:
        is_exact: whether the values of each step are read.
        note: takes what is to be said of an update that is left out.
    """

    def __init__(
        self,
        task: Task,
        modules: Sequence[nn.Module],
        accelerator: Accelerator,
        config: TrainingConfig,
        folder: Path,
    ) -> None:
        self.task, self.accelerator, self.folder = task, accelerator, folder
        self._modules = [accelerator.unwrap_model(module) for module in modules]
        self._buffers = [_buffers(module) for module in self._modules]
        self._is_sharded = accelerator.distributed_type == DistributedType.FSDP
        self._skips = config.on_failure == "skip"
        self.is_exact = self._skips or accelerator.device.type == "cpu"
        self.note: Callable[[str], None] = lambda message: None
        self._kept = 0
        self.clear()

    def clear(self) -> None:
        """Forget what was noted, and spoilt gradients, as before going back to a checkpoint."""
        for module in self._modules:
            module.zero_grad()
        keep_loss_scale(self.accelerator)
        self.accelerator.step = 0  # of the batches of an update
        self._noted = FirstFailures()
        self._overflows: dict[int, Tensor] = {}
        self._spoilt: dict[int, Failure] = {}
        self._in_a_row: Counter[int] = Counter()
        self._norms: list[Tensor] = []
        self._left_out: list[Tensor] = []

    def in_a_row(self) -> dict[str, list[int]]:
        """Return how many updates in a row each step has left out last, to be saved with a run.

        They are ``left_out`` for what was no finite number, and ``overflows`` of fp16.
        """
        steps = range(len(self._modules))
        overflows = [int(self._overflows[step]) if step in self._overflows else 0 for step in steps]
        return {"left_out": [self._in_a_row[step] for step in steps], "overflows": overflows}

    def resume(self, in_a_row: Mapping[str, Sequence[int]]) -> None:
        """Take back what ``in_a_row`` returned."""
        self._in_a_row = Counter(dict(enumerate(in_a_row["left_out"])))
        device = self.accelerator.device
        counts = enumerate(in_a_row["overflows"])
        self._overflows = {step: torch.tensor(float(n), device=device) for step, n in counts}

    def begin(self, step: int, batch: Any, epoch: int, updates: int) -> None:
        """Note where a step begins.

        Args:
            step: place among ``Task.steps``.
            batch: what it gets.
            epoch: finished epochs.
            updates: finished updates.
        """
        self._step, self._epoch, self._update = step, epoch + 1, updates + 1
        self._samples = self.task.sample_ids(batch)
        if self.is_exact:
            # A copy, as steps mix images in place.
            self._batch = tree_map_only(Tensor, Tensor.clone, batch)
            self._random = random_states()
            self._before = [
                {name: buffer.clone() for name, buffer in own.items()} for own in self._buffers
            ]

    def passes(self, terms: Mapping[str, Tensor], norm: Tensor) -> bool:
        """Return whether the optimiser may take a step, with finite numbers.

        Args:
            terms: of the loss.
            norm: of the gradient, without a loss scale.

        Raises:
            StepError: if it may not, and the run does not skip.
        """
        scaled = self.accelerator.scaler is not None
        values = dict(terms) | ({} if scaled else {GRADIENT: norm})
        if not self.is_exact:
            self._noted.add(self._step, self._update, values, self._samples)
        elif self._step not in self._spoilt:
            self._look(terms, values)
        is_whole, is_spoilt = self.accelerator.sync_gradients, self._step in self._spoilt
        if is_whole:
            self._add(norm, scaled, is_spoilt)
        if is_whole and is_spoilt:
            self._leave_out(self._spoilt.pop(self._step))
        elif is_whole:
            self._in_a_row[self._step] = 0
        return not is_spoilt

    def _look(self, terms: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
        stacked = torch.stack([value.detach().float() for value in values.values()])
        failed = (~stacked.isfinite()).any().float()
        own = bool(failed)
        if distributed.is_initialized():
            distributed.all_reduce(failed, op=distributed.ReduceOp.MAX)
        if not bool(failed):
            return
        found = self._failure(terms, values.get(GRADIENT)) if own else None
        failure = self._agreed(found)
        self._put_back_buffers()
        if not self._skips:
            self.clear()
            raise StepError(failure.sentence(self.folder))
        self._spoilt[self._step] = failure

    def _leave_out(self, failure: Failure) -> None:
        keep_loss_scale(self.accelerator)
        sentence = failure.sentence(self.folder)
        self._in_a_row[self._step] += 1
        if self._in_a_row[self._step] > MOST_SKIPPED:
            self.clear()
            raise StepError(f"{sentence}, after {MOST_SKIPPED} in a row that were left out")
        self.note(f"{sentence} in epoch {failure.epoch}; the update is left out.")

    def _add(self, norm: Tensor, scaled: bool, is_spoilt: bool) -> None:
        """Count an update: on the device, where a loss scale leaves some out by itself."""
        left_out = torch.full_like(norm, float(is_spoilt))
        if scaled:
            left_out = torch.where(norm.isfinite(), left_out, 1.0)
            in_a_row = self._overflows.get(self._step, torch.zeros_like(norm))
            self._overflows[self._step] = torch.where(left_out > 0, in_a_row + 1, 0.0)
        self._norms.append(norm)
        self._left_out.append(left_out)

    def gradients(self) -> Gradients:
        """Return what is known of the gradients of the update that has just been made."""
        none = torch.zeros((), device=self.accelerator.device)  # where no module's turn it was
        norms, left_out = torch.stack(self._norms or [none]), torch.stack(self._left_out or [none])
        self._norms, self._left_out = [], []
        return Gradients(norms.norm(), left_out.amax(), loss_scale(self.accelerator))

    def check(self) -> None:
        """Read what the device has noted; this waits for it, on all processes alike.

        Raises:
            StepError: if a step has failed since the last time.
        """
        if any(int(row) >= MOST_SKIPPED for row in self._overflows.values()):
            self.clear()
            raise StepError(
                f"The gradient overflows fp16, after its loss scale was lowered {MOST_SKIPPED} "
                "times in a row,"
            )
        noticed = None if self.is_exact else self._noted.read()
        if noticed is None:
            return
        part = f"loss term {noticed.term}" if noticed.term else "gradient"
        failure = self._record(f"The {part} is no finite number", noticed.samples)
        own = replace(
            failure, step=noticed.step, update=noticed.update, has_term=noticed.term != GRADIENT
        )
        found = self._agreed(own if noticed.is_own else None)
        self.clear()
        raise StepError(found.sentence(self.folder))

    def _agreed(self, own: Failure | None) -> Failure:
        """The failure that all processes speak of; those that it is of keep their own."""
        every = gather_object([own]) if self.accelerator.num_processes > 1 else [own]
        found = [failure for failure in every if failure is not None]
        # A term spoils the gradients of all.
        culprits = [failure for failure in found if failure.has_term] or found
        if own is not None and own in culprits and self._kept < _MOST_KEPT:
            self._kept += 1
            self._keep(own)
        return culprits[0]

    def _failure(self, terms: Mapping[str, Tensor], norm: Tensor | None) -> Failure:
        """What has failed of the step, with all that is kept of it."""
        bad = next((name for name, term in terms.items() if not bool(term.isfinite())), "")
        if bad:
            what = f"The loss term {bad} is {float(terms[bad].detach())}"
        else:
            what = f"The {self._spoilt_gradient()} is no finite number"
        scale = loss_scale(self.accelerator)
        return replace(
            self._record(what, self._samples),
            has_term=bool(bad),
            terms={name: text_of(term) for name, term in terms.items()},
            gradient_norm="" if norm is None else text_of(norm),
            loss_scale="" if scale is None else text_of(scale),
            is_kept=True,
            has_weights=not self._is_sharded,
        )

    def _record(self, what: str, samples: Tensor | None) -> Failure:
        numbers: list[int] = [] if samples is None else samples.tolist()
        return Failure(
            what=what,
            epoch=self._epoch,
            update=self._update,
            step=self._step,
            process=self.accelerator.process_index,
            processes=self.accelerator.num_processes,
            samples=numbers,
            pictures=self.task.sample_names(numbers),
            device=str(self.accelerator.device),
        )

    def _spoilt_gradient(self) -> str:
        """The first layer whose gradient is no finite number, and how many others there are.

        Numbers that are finite may have a norm that is not.
        """
        bad = spoilt_parameters(self._modules[self._step])
        layers = list(dict.fromkeys(name.rpartition(".")[0] for name in bad))
        others = f" and {len(layers) - 1} other layers" if len(layers) > 1 else ""
        return f"gradient of {layers[0]}{others}" if layers else "norm of the gradient"

    def _keep(self, failure: Failure) -> None:
        if not failure.is_kept:
            keep(self.folder, failure, None, {}, [])
            return
        weights: list[dict[str, Tensor]] = []
        if failure.has_weights:
            pairs = zip(self._modules, self._before, strict=True)
            weights = [module.state_dict() | buffers for module, buffers in pairs]
        keep(self.folder, failure, self._batch, self._random, weights)

    def _put_back_buffers(self) -> None:
        """Undo what the step has left in statistics, before its weights go on."""
        for own, before in zip(self._buffers, self._before, strict=True):
            for name, buffer in own.items():
                buffer.copy_(before[name])


def _buffers(module: nn.Module) -> dict[str, Tensor]:
    """The buffers that are saved with a module, by name."""
    saved = module.state_dict().keys()
    return {name: part for name, part in module.named_buffers() if name in saved}
