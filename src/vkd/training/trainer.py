"""The training loop."""

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from time import monotonic
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DataLoaderConfiguration, DistributedType, set_seed
from timm.utils import ModelEmaV3
from torch import Tensor
from torch.distributed.tensor import DTensor

from vkd.config import TrainingConfig
from vkd.errors import FieldError, RunError
from vkd.training.checkpoint import (
    Progress,
    finished_epochs,
    load_state,
    rewrite_progress,
    save_state,
    save_tensors,
)
from vkd.training.extra_log import ExtraLog, RunShape
from vkd.training.means import Means
from vkd.training.moving import moved
from vkd.training.optimization import create_optimizer, create_schedule
from vkd.training.pace import WaitingHint, worker_advice
from vkd.training.processes import (
    leave_equal_buffers,
    require_gradients,
    share_buffers,
    updates_now,
)
from vkd.training.reading import read, reseed, watching_workers
from vkd.training.run_log import RunLog
from vkd.training.start import Start, load_moments
from vkd.training.step_records import StepRecorder
from vkd.training.task import Predict, Task
from vkd.training.trackers import Trackers
from vkd.versions import versions

_log = logging.getLogger("vkd")


class Trainer:
    """Trains a task by a config and keeps the run in a folder.

    Args:
        task: networks, data, losses and metrics.
        config: the recipe.
        folder: the run folder, made by ``open_run_folder``.
        accelerator: of ``make_accelerator``.
        show: print progress.
        logs: further logs, in other formats than our records.
    """

    def __init__(
        self,
        task: Task,
        config: TrainingConfig,
        folder: Path,
        accelerator: Accelerator,
        show: bool = True,
        logs: Sequence[ExtraLog] = (),
    ) -> None:
        self.task, self.config, self.folder, self.show = task, config, folder, show
        self.logs = logs
        self._measures: dict[str, float] = {}
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
            every = f"for each of {processes} processes " if processes > 1 else ""
            raise FieldError(
                "batch_size", f"{every}is larger than the training set; no batch is full."
            )
        if self._ema is not None:
            self._ema.to(accelerator.device)
            accelerator.register_for_checkpointing(self._ema)
        # timm counts updates; accelerate's loader is one epoch of this process.
        self.updates_per_epoch = math.ceil(len(self.train_batches) / config.accumulation)
        self.schedules = [
            create_schedule(o, config, lr, self.updates_per_epoch) for o in optimizers
        ]
        self._recorder = StepRecorder(config.log_every, images // config.accumulation)
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
        progress = Progress(start.epoch, start.epoch * self.updates_per_epoch)
        # Of a sharded model no process has the whole parameters that moments are of.
        is_whole = self.accelerator.distributed_type != DistributedType.FSDP
        moments = start.moments if is_whole else {}
        module = self.task.steps[0].module
        taken = load_moments(self.optimizers[0].optimizer, module, moments)
        count = sum(1 for _ in module.parameters())
        moved = f"moments of {taken:,} of {count:,} parameters are taken over"
        if start.moments and not taken:
            moved += "; they are for AdamW's kind, and for models that are not sharded"
        notes = [f"goes on with epoch {start.epoch + 1}", moved]
        if self._ema is not None and start.averaged:
            self._ema.module.load_state_dict(start.averaged)
        elif self._ema is not None:
            notes.append("it has no averaged weights, so their average starts with the weights")
        if start.scaler and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(dict(start.scaler))
        elif start.scaler:
            notes.append("its scale of gradients is left out, as this run is not in fp16")
        save_state(self.accelerator, self.folder, progress)
        return notes

    @watching_workers()
    def fit(self, resume: bool = False) -> dict[str, float]:
        """Train to the last epoch and return the validation metrics of the final weights.

        An epoch fails whose losses are not finite, or that the task finds unhealthy. The run then
        goes back to its last checkpoint and on with other random numbers, ``rollbacks`` times at
        most.

        Raises:
            RunError: when it would have to go back once more; the last checkpoint stays.
        """
        config = self.config
        progress = self._resumed() if resume else Progress()
        self._step_schedules(progress)
        metrics: dict[str, float] = {}
        with self._run_log(progress) as log:
            while progress.epoch < config.epochs:
                began = monotonic()
                terms = self._train_epoch(progress, log)
                record: dict[str, Any] = {"epoch": progress.epoch, "updates": progress.updates}
                record |= {"lr": self.optimizers[0].param_groups[0]["lr"], "train": terms}
                record["measures"] = self._measures
                record |= self._pace()
                last = progress.epoch == config.epochs
                # Before anything is measured, as metrics may fail on what is not finite.
                fault = _non_finite(terms) or self._broken_weights()
                fault = fault or self.task.check_health(terms, {})
                if not fault and (last or progress.epoch % config.evaluate_every == 0):
                    record["validation"] = metrics = self.evaluate()
                    self._save_sample(progress)
                    fault = self.task.check_health(terms, metrics)
                if fault:
                    progress = self._roll_back(fault, progress, log)
                    continue
                log.epoch(record | {"seconds": round(monotonic() - began, 3)})
                if last or progress.epoch % config.checkpoint_every == 0:
                    self._save_weights()
                    progress.task, progress.diverted = self.task.progress(), False
                    save_state(self.accelerator, self.folder, progress)
        return metrics or self.evaluate()

    def evaluate(self) -> dict[str, float]:
        """Return the validation metrics of the (averaged) weights."""
        return self.task.evaluate(self._predict(), self.validation_batches, self.accelerator)

    def _predict(self) -> Predict:
        """The (averaged) model in eval mode."""
        if self._ema is not None:
            return self._ema.module.eval()
        # Through the wrapper, which gathers the weights where they are sharded.
        return partial(self.modules[0].eval(), predict=True)

    def _resumed(self) -> Progress:
        progress = load_state(self.accelerator, self.folder)
        if progress.epoch > self.config.epochs:
            raise FieldError(
                "epochs",
                f"is {self.config.epochs} and the checkpoint in {self.folder} is of epoch "
                f"{progress.epoch}; it is not of this run.",
            )
        self.task.resume(progress.task)
        if progress.diverted:
            self._divert(progress)
        progress.updates = updates_now(
            self.folder, progress, self.updates_per_epoch, self.accelerator
        )
        return progress

    def _run_log(self, progress: Progress) -> RunLog:
        is_main = self.accelerator.is_main_process
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

    def _save_sample(self, progress: Progress) -> None:
        picture = self.task.sample_image(self._predict(), self.accelerator.device)
        if picture is not None and self.accelerator.is_main_process:
            file = self.folder / "samples" / f"epoch-{progress.epoch:05d}.png"
            file.parent.mkdir(exist_ok=True)
            picture.save(file)

    def _train_epoch(self, progress: Progress, log: RunLog) -> dict[str, float]:
        """Train for an epoch, return the mean loss terms, and keep what else was measured."""
        for module in self.modules:
            module.train()
        self.train_batches.set_epoch(progress.epoch)
        terms, measures = Means(), Means()
        rates = []
        self._recorder.start()
        reseed(self.train_batches.dataset)
        batches = moved(read(self.train_batches), self.accelerator.device)
        for batch in self._recorder.timed(batches):
            rates.append(self.optimizers[0].param_groups[0]["lr"])
            found = self._train_step(batch, progress)
            terms.add(found)
            for step in self.task.steps:
                measures.add(step.module.measures())
            if self.accelerator.sync_gradients:
                progress.updates += 1
                self._step_schedules(progress)
                self._average(progress)
                if record := self._recorder.record(progress.updates, found, self.optimizers[0]):
                    log.update(record)
            log.step()
        if self._ema is not None:
            share_buffers(self._ema.module)
        progress.epoch += 1
        means = terms.reduced(self.accelerator)
        # Read back, and so after the epoch's last step on a device, too.
        self._recorder.epoch.stop()
        means["loss"] = sum(means.values())
        self._measures = {"lr": fmean(rates)} | measures.reduced(self.accelerator)
        return means

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
                    found |= {name: term.detach().float() for name, term in terms.items()}
        return found

    def _optimizer_step(self, index: int, batch: Any, progress: Progress) -> dict[str, Tensor]:
        module, optimizer = self.modules[index], self.optimizers[index]
        terms = module(batch)
        self.accelerator.backward(torch.stack(list(terms.values())).sum())
        if index in self._unchecked:
            require_gradients(module)
            self._unchecked.remove(index)
        if self.accelerator.sync_gradients:
            norm = None
            if self.config.clip_grad:
                clip = self.config.clip_grad
                norm = self.accelerator.clip_grad_norm_(module.parameters(), clip)
            self._recorder.observe_gradients(progress.updates + 1, module, norm)
        optimizer.step()
        optimizer.zero_grad()
        return terms

    def _broken_weights(self) -> str:
        """What is wrong with the weights, of which each process may hold a shard; or nothing."""
        weights = [p.detach() for module in self.modules for p in module.parameters()]
        shards = [p.to_local() if isinstance(p, DTensor) else p for p in weights]
        broken = torch.stack([(~shard.isfinite()).any() for shard in shards]).any()
        is_broken = bool(self.accelerator.reduce(broken.float(), "sum"))
        return "A weight is no finite number any more" if is_broken else ""

    def _step_schedules(self, progress: Progress) -> None:
        for schedule in self.schedules:
            # Of the two, a schedule heeds the one that it is made for.
            schedule.step_update(progress.updates)
            schedule.step(progress.updates // self.updates_per_epoch)

    def _roll_back(self, fault: str, progress: Progress, log: RunLog) -> Progress:
        message = f"{fault} in epoch {progress.epoch}"
        if finished_epochs(self.folder) is None:
            raise RunError(
                f"{message}; lower lr or set clip_grad. There was no checkpoint to go back to yet."
            )
        if progress.rollbacks == self.config.rollbacks:
            raise RunError(
                f"{message}; lower lr or set clip_grad. The last checkpoint in "
                f"{self.folder} is untouched."
            )
        back = load_state(self.accelerator, self.folder)
        back = replace(
            back, rollbacks=progress.rollbacks + 1, diverted=True, task=self.task.progress()
        )
        if self.accelerator.is_main_process:
            rewrite_progress(self.folder, back)
        log.note(f"{message}; resuming from epoch {back.epoch} with other random numbers.")
        self._divert(back)
        self._step_schedules(back)
        log.rewind(back.epoch, back.updates)
        return back

    def _divert(self, progress: Progress) -> None:
        set_seed(self.config.seed + 1000 * progress.rollbacks, device_specific=True)

    def _save_weights(self) -> None:
        # Here, as the first step need not wait for it.
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

        # All processes take part, as each may hold a shard.
        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        states: list[dict[str, Any]] = [
            dict(get_model_state_dict(module, options=options)) for module in self.modules
        ]
        if not self.accelerator.is_main_process:
            return
        metadata = self.task.metadata() | _origin(self.config)
        first = self.task.steps[0].module
        weights = first.state_of(first.deployed, states[0])
        if self._ema is not None:
            weights = self._ema.module.state_dict()
        save_tensors(weights, self.folder / "model.safetensors", metadata)
        for name, tensors in self.task.extra_tensors(states).items():
            save_tensors(tensors, self.folder / f"{name}.safetensors", metadata)


def _origin(config: TrainingConfig) -> dict[str, str]:
    """What a weights file says of the run that it is from."""
    found = {"recipe": json.dumps(asdict(config)), "versions": json.dumps(versions())}
    name = (config.model_names() | config.objects).get("student", "")
    return found | ({"architecture": name} if name else {})


def _non_finite(terms: dict[str, float]) -> str:
    bad = next((name for name, value in terms.items() if not math.isfinite(value)), "")
    return f"The loss term {bad} is {terms[bad]}" if bad else ""


def make_accelerator(config: TrainingConfig) -> Accelerator:
    """Return the accelerator for a config's device, precision and accumulation.

    Raises:
        FieldError: if the device is not available.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(config.device, True):
        raise FieldError("device", f"{config.device} is not available here; use auto or cpu.")
    # A teacher may train in another precision, earlier in this process.
    AcceleratorState._reset_state(reset_partial_state=False)
    on_cpu = config.device == "cpu" or not (available["cuda"] or available["mps"])
    precision: str = config.mixed_precision
    if precision == "fp16" and on_cpu:
        _log.warning("There is no fp16 on the CPU; training in float32.")
        precision = "no"
    return Accelerator(
        cpu=on_cpu,  # without a GPU, accelerate joins torchrun's processes only then
        mixed_precision=precision,
        gradient_accumulation_steps=config.accumulation,
        dataloader_config=DataLoaderConfiguration(
            use_seedable_sampler=True,
            data_seed=config.seed,
            # Of pinned memory the host waits for no copy; MPS has none.
            non_blocking=available["cuda"] and not on_cpu,
        ),
        step_scheduler_with_optimizer=False,
    )
