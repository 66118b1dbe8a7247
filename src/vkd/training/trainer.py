"""The training loop."""

import math
from collections.abc import Iterator, Sequence, Sized
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import fmean
from time import monotonic
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from timm.utils import ModelEmaV3
from torch import Tensor

from vkd.config import TrainingConfig
from vkd.errors import FieldError, RunError
from vkd.picture_files import save_png
from vkd.training.checkpoint import Progress
from vkd.training.extra_log import ExtraLog, RunShape
from vkd.training.failures import StepError
from vkd.training.gradients import gradient_norm, of_epoch
from vkd.training.guard import Guard
from vkd.training.health import fault_of_terms, fault_of_weights
from vkd.training.means import EpochSums
from vkd.training.moving import moved
from vkd.training.optimization import create_optimizer, create_schedule
from vkd.training.pace import WaitingHint, worker_advice
from vkd.training.processes import (
    leave_equal_buffers,
    require_gradients,
    share_buffers,
)
from vkd.training.reading import draw, read, watching_workers
from vkd.training.recording import record_after, record_before
from vkd.training.recovery import Recovery
from vkd.training.run_log import RunLog
from vkd.training.spec import Metric
from vkd.training.start import Start
from vkd.training.state import RunState
from vkd.training.step_records import StepRecorder
from vkd.training.stops import StopNow, Stops
from vkd.training.task import Evaluated, Predict, Task
from vkd.training.trackers import Trackers
from vkd.training.weights import save_weights


class Trainer:
    """Trains a task by a config and keeps the run in a folder.

    Args:
        task: networks, data, losses and metrics.
        config: the recipe.
        folder: the run folder, made by ``open_run_folder``.
        accelerator: of ``make_accelerator``.
        show: print progress.
        logs: further logs, in other formats than our records.
        best_by: the metric by which the best weights are kept, where the recipe keeps them.
    """

    def __init__(
        self,
        task: Task,
        config: TrainingConfig,
        folder: Path,
        accelerator: Accelerator,
        show: bool = True,
        logs: Sequence[ExtraLog] = (),
        best_by: Metric | None = None,
    ) -> None:
        self.task, self.config, self.folder, self.show = task, config, folder, show
        self.logs, self._best_by = logs, best_by
        self.accelerator = accelerator
        is_sharded = accelerator.distributed_type == DistributedType.FSDP
        if config.ema_decay and is_sharded:
            raise FieldError("ema_decay", "needs whole weights on each process; not with FSDP.")
        self._ema = ModelEmaV3(task.model, config.ema_decay) if config.ema_decay else None
        images = config.batch_size * config.accumulation * accelerator.num_processes
        lr = config.lr * images / (config.lr_reference_batch or images)
        optimizers = [
            create_optimizer(step.module, config, lr, not is_sharded) for step in task.steps
        ]
        count = len(task.steps)
        for step in task.steps:
            leave_equal_buffers(step.module)
        prepared = accelerator.prepare(
            *(step.module for step in task.steps),
            *optimizers,
            task.train_loader(),
            task.validation_loader(),
        )
        self.modules, self.optimizers = prepared[:count], prepared[count : 2 * count]
        self.train_batches, self.validation_batches = prepared[2 * count :]
        if len(self.train_batches) < 1:
            processes = accelerator.num_processes
            each = f" on each of {processes} processes" if processes > 1 else ""
            samples = len(cast(Sized, self.train_batches.dataset))
            raise FieldError(
                "batch_size",
                f"is {config.batch_size}{each} and there are {samples} training samples: not one "
                "batch is full.",
            )
        if self._ema is not None:
            self._ema.to(accelerator.device)
        average = None if self._ema is None else self._ema.module
        state = RunState(accelerator, self.modules, self.optimizers, average)
        self._stops = Stops(config.checkpoint_every_minutes)
        self._sums = EpochSums()
        # timm counts updates; accelerate's loader is one epoch of this process.
        self.updates_per_epoch = math.ceil(len(self.train_batches) / config.accumulation)
        self.schedules = [
            create_schedule(o, config, lr, self.updates_per_epoch) for o in optimizers
        ]
        self._recorder = StepRecorder(config.log_every, images // config.accumulation)
        self._guard = Guard(task, self.modules, accelerator, config, folder)
        self._recovery = Recovery(
            task, state, config, folder, accelerator, self._guard, self._stops,
            steps=len(self.train_batches),
        )  # fmt: skip
        advice = worker_advice(config.workers, accelerator.device) + task.reading_advice()
        self._hint = WaitingHint(advice)
        # DDP alone waits for the gradient of every parameter.
        is_waiting = accelerator.num_processes > 1 and not is_sharded
        self._unchecked = set(range(count)) if is_waiting else set()

    def begin(self, start: Start) -> list[str]:
        """Keep ``start`` as the first state of the run, for ``fit(resume=True)`` to go on from.

        Returns:
            What was taken over of it, and what could not be.
        """
        average = None if self._ema is None else self._ema.module
        module, optimizer = self.task.steps[0].module, self.optimizers[0].optimizer
        notes = start.take_over(module, optimizer, average, self.accelerator)
        self._recovery.save_progress(self._progress(start.epoch), EpochSums())
        return notes

    def _progress(self, epoch: int = 0) -> Progress:
        updates, processes = epoch * self.updates_per_epoch, self.accelerator.num_processes
        return Progress(epoch=epoch, updates=updates, processes=processes)

    def fit(self, resume: bool = False) -> dict[str, float]:
        """Train to the last epoch and return the validation metrics of the final weights.

        A step fails whose losses or gradients are not finite, and an epoch that the task finds
        unhealthy. The run then goes back to its last checkpoint and on with other random numbers,
        ``rollbacks`` times at most; or it leaves out the step, by ``on_failure``.

        Raises:
            RunError: when it would have to go back once more; the last checkpoint stays.
            Stopped: when a signal has ended the run, which has saved a checkpoint.
        """
        with self._workers(), self._stops.heeded():
            progress = self._resumed() if resume else self._progress()
            self._step_schedules(progress)
            if not progress.updates:
                record_before(self.task, self._evaluated(), self.folder, self.config.compile)
            metrics: dict[str, float] = {}
            with self._run_log(progress) as log:
                self._guard.note = log.note_of_epoch
                while progress.epoch < self.config.epochs:
                    progress, metrics = self._epoch(progress, log)
            return metrics or self.evaluate()

    def _workers(self) -> AbstractContextManager[None]:
        return watching_workers(self.train_batches, self.validation_batches)

    def _epoch(self, progress: Progress, log: RunLog) -> tuple[Progress, dict[str, float]]:
        """Train for an epoch, or what is left of it; return the progress and metrics if any."""
        config, began = self.config, monotonic()
        try:
            self._train_epoch(progress, log)
            with self._stops.at_once():
                record, fault = self._record(progress)
        except StepError as failure:
            record, fault = {}, str(failure)
        except StopNow:
            self._recovery.stop(progress, self._sums)
        if fault:
            return self._roll_back(fault, progress, log), {}
        metrics: dict[str, float] = record.get("validation", {})
        progress.epoch, progress.batch, self._sums = record["epoch"], 0, EpochSums()
        log.epoch(record | {"seconds": round(monotonic() - began, 3)})
        last = progress.epoch == config.epochs
        if last:
            log.standing()
            record_after(self.task, self._evaluated(), self.folder, config.compile)
        self._keep_best(progress, metrics)
        stop = self._stops.is_asked and self.accelerator.num_processes == 1
        if stop or last or progress.epoch % config.checkpoint_every == 0:
            self._save_weights(self.folder, progress.epoch)
            self._recovery.save_progress(progress, self._sums)
        if stop and not last:
            raise self._stops.stopped(progress.name)
        return progress, metrics

    def _record(self, progress: Progress) -> tuple[dict[str, Any], str]:
        """The record of an epoch whose steps are done, and what is wrong with it, if anything."""
        config, epoch = self.config, progress.epoch + 1
        self._guard.check()
        terms = self._sums.terms.reduced(self.accelerator)
        if not terms:
            raise StepError("Every update was left out")
        # Read back, and so after the epoch's last step on a device, too.
        self._recorder.epoch.stop()
        terms["loss"] = sum(terms.values())
        measures = self._sums.measures.reduced(self.accelerator)
        gradients = of_epoch(self.accelerator, measures, self.updates_per_epoch)
        record: dict[str, Any] = {"epoch": epoch, "updates": progress.updates}
        record |= {"lr": self.optimizers[0].param_groups[0]["lr"], "train": terms}
        record["measures"] = {"lr": fmean(self._sums.rates)} | measures
        if explained := self._sums.explained.reduced(self.accelerator):
            record["explained"] = explained
        record |= gradients | self._pace()
        # Before anything is measured, as metrics may fail on what is not finite.
        fault = fault_of_terms(terms) or fault_of_weights(self.modules, self.accelerator)
        fault = fault or self.task.check_health(terms, {})
        if not fault and (epoch == config.epochs or epoch % config.evaluate_every == 0):
            record["validation"] = metrics = self.evaluate()
            self._save_sample(epoch)
            fault = self.task.check_health(terms, metrics)
        return record, fault

    def _keep_best(self, progress: Progress, metrics: dict[str, float]) -> None:
        """Keep the weights of an epoch whose metric is better than any before, where asked to."""
        if self._best_by is None or self._best_by.name not in metrics:
            return
        value = metrics[self._best_by.name]
        sign = -1 if self._best_by.lower_is_better else 1
        if progress.best and sign * value <= sign * progress.best["value"]:
            return
        progress.best = {"epoch": progress.epoch, "value": value}
        folder = self.folder / "best"
        if self.accelerator.is_main_process:
            folder.mkdir(exist_ok=True)
        self._save_weights(folder, progress.epoch)

    def trial(self, count: int) -> Iterator[float]:
        """Take ``count`` training steps, of as many epochs as hold them, and keep nothing of them.

        Yields:
            After each step the seconds that it waited for its batch. On a GPU it may still run.
        """
        for module in self.modules:
            module.train()
        with self._workers():
            yield from islice(self._steps_waited_for(), count)

    def _steps_waited_for(self) -> Iterator[float]:
        progress = self._progress()
        while True:
            self._begin_epoch(progress)
            waited = 0.0
            for batch in self._recorder.timed(self._batches_after(0)):
                self._train_step(batch, progress)
                progress.updates += self.accelerator.sync_gradients
                yield self._recorder.epoch.waited - waited
                waited = self._recorder.epoch.waited
            progress.epoch += 1

    def find_failure(self, update: int) -> None:
        """Go on from the last checkpoint until a step fails, and keep that step and nothing else.

        Args:
            update: at which one is known to fail.

        Raises:
            RunError: if no step up to that one fails.
        """
        progress = self._resumed()
        first = progress.updates + 1
        self._step_schedules(progress)
        self._guard.is_exact = True
        log = self._run_log(progress, is_written=False)
        try:
            with self._workers():
                while progress.updates < update:
                    self._train_epoch(progress, log, saves=False)
                    progress.epoch, progress.batch = progress.epoch + 1, 0
        except StepError:
            return
        raise RunError(
            f"No step from update {first}, that of the last checkpoint in {self.folder}, to update "
            f"{update} has failed again."
        )

    def evaluate(self) -> dict[str, float]:
        """Return the validation metrics of the (averaged) weights."""
        return self.task.evaluate(self._predict(), self.validation_batches, self.accelerator)

    def _predict(self) -> Predict:
        """The (averaged) model in eval mode."""
        if self._ema is not None:
            return self._ema.module.eval()
        # Through the wrapper, which gathers the weights where they are sharded.
        return partial(self.modules[0].eval(), predict=True)

    def _evaluated(self) -> Evaluated:
        network = self.task.model if self._ema is None else self._ema.module
        return Evaluated(self._predict(), network, self.accelerator)

    def _resumed(self) -> Progress:
        found = self._recovery.resumed()
        if found is None:
            return self._progress()
        progress, self._sums = found
        return progress

    def _run_log(self, progress: Progress, is_written: bool = True) -> RunLog:
        is_main = self.accelerator.is_main_process and is_written
        trained = (p for step in self.task.steps for p in step.module.parameters())
        shape = RunShape(
            epochs=self.config.epochs,
            steps=len(self.train_batches),
            updates=self.updates_per_epoch,
            parameters=sum(p.numel() for p in trained if p.requires_grad),
            metric=self.task.metric,
        )
        settings = asdict(self.config)
        config = self.config if is_main else replace(self.config, trackers="")
        return RunLog(
            self.folder,
            shape,
            Trackers(config, self.folder, progress.epoch, settings),
            extra=self.logs,
            epoch=progress.epoch,
            updates=progress.updates,
            enabled=is_main,
            show=self.show,
        )

    def _save_sample(self, epoch: int) -> None:
        picture = self.task.sample_image(self._predict(), self.accelerator.device)
        if picture is not None and self.accelerator.is_main_process:
            file = self.folder / "samples" / f"epoch-{epoch:05d}.png"
            file.parent.mkdir(exist_ok=True)
            save_png(picture, file)

    def _begin_epoch(self, progress: Progress) -> None:
        self.train_batches.set_epoch(progress.epoch)
        # After going back to a checkpoint, other ones.
        seed = self.config.seed + 1000 * progress.rollbacks
        draw(self.train_batches.dataset, seed, progress.epoch)
        self._recorder.start()

    def _train_epoch(self, progress: Progress, log: RunLog, saves: bool = True) -> None:
        """Take the steps of an epoch that are not done yet, and save checkpoints where due."""
        for module in self.modules:
            module.train()
        self._begin_epoch(progress)
        for batch in self._recorder.timed(self._batches_after(progress.batch)):
            self._sums.rates.append(self.optimizers[0].param_groups[0]["lr"])
            found = self._train_step(batch, progress)
            self._sums.terms.add(found)
            progress.batch += 1
            log.step()
            if self.accelerator.sync_gradients:
                gradients = self._guard.gradients()
                self._sums.measures.add(gradients.measures())
                progress.updates += 1
                self._step_schedules(progress)
                self._average(progress)
                if record := self._recorder.record(
                    progress.updates, found, gradients, self.optimizers[0]
                ):
                    self._guard.check()
                    log.update(record)
                if saves:
                    self._recovery.save_where_due(progress, self._sums)
        if self._ema is not None:
            share_buffers(self._ema.module)

    def _batches_after(self, done: int) -> Iterator[Any]:
        """The batches of an epoch on the device, but for the first ``done``."""
        batches = self.train_batches
        if done == len(batches):
            return iter(())
        if done:
            batches = self.accelerator.skip_first_batches(batches, done)
        return moved(read(batches), self.accelerator.device)

    def _pace(self) -> dict[str, float]:
        """Images a second of an epoch that has just ended, and the processes' mean waiting."""
        pace = self._recorder.epoch
        self._hint.add(pace)
        waiting = torch.tensor(pace.waiting, device=self.accelerator.device)
        mean = self.accelerator.reduce(waiting, "mean").item()
        return {"images_per_second": pace.images_per_second, "waiting": round(mean, 4)}

    def _average(self, progress: Progress) -> None:
        """Add the weights after an update to their average."""
        if self._ema is None:
            return
        config = self.config
        share = progress.updates / (config.epochs * self.updates_per_epoch)
        end = config.ema_decay_end or config.ema_decay
        self._ema.decay = config.ema_decay + (end - config.ema_decay) * min(share, 1.0)
        self._ema.update(self.task.model)

    def _train_step(self, batch: Any, progress: Progress) -> dict[str, Tensor]:
        """Take the step of every module whose turn it is; return the loss terms."""
        found: dict[str, Tensor] = {}
        with self.accelerator.accumulate(*self.modules):
            for index, step in enumerate(self.task.steps):
                if progress.updates % step.every == 0:
                    terms = self._optimizer_step(index, batch, progress)
                    if terms:
                        self._sums.measures.add(step.module.measures())
                        self._sums.explained.add(step.module.explained())
                    found |= {name: term.detach().float() for name, term in terms.items()}
        return found

    def _optimizer_step(self, index: int, batch: Any, progress: Progress) -> dict[str, Tensor]:
        module, optimizer = self.modules[index], self.optimizers[index]
        self._guard.begin(index, batch, progress.epoch, progress.updates)
        terms: dict[str, Tensor] = module(batch)
        self.accelerator.backward(torch.stack(list(terms.values())).sum())
        if index in self._unchecked:
            require_gradients(module)
            self._unchecked.remove(index)
        norm = gradient_norm(self.accelerator, module, optimizer, self.config.clip_grad)
        if self._guard.passes(terms, norm):
            optimizer.step()
        else:
            terms = {}
        optimizer.zero_grad()
        return terms

    def _step_schedules(self, progress: Progress) -> None:
        for schedule in self.schedules:
            # Of the two, a schedule heeds the one that it is made for.
            schedule.step_update(progress.updates)
            schedule.step(progress.updates // self.updates_per_epoch)

    def _roll_back(self, fault: str, progress: Progress, log: RunLog) -> Progress:
        message = f"{fault} in epoch {progress.epoch + 1}"
        back, self._sums = self._recovery.gone_back(message, progress)
        place = f"epoch {back.epoch}" + (f", batch {back.batch}," if back.batch else "")
        log.note(f"{message}; resuming from {place} with other random numbers.")
        self._step_schedules(back)
        log.rewind(back.epoch, back.updates)
        return back

    def _save_weights(self, folder: Path, epoch: int) -> None:
        average = None if self._ema is None else self._ema.module
        save_weights(folder, self.task, self.config, self.accelerator, self.modules, average, epoch)
