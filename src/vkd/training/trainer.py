"""The training loop."""

import inspect
import json
import math
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DataLoaderConfiguration, DistributedType, set_seed
from timm.optim import (
    create_optimizer_v2,
    get_optimizer_class,
    list_optimizers,
    param_groups_weight_decay,
)
from timm.scheduler import create_scheduler_v2
from timm.scheduler.scheduler import Scheduler
from timm.utils import ModelEmaV3
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

from vkd.config import TrainingConfig
from vkd.errors import RunError, UserError, nearest
from vkd.training.checkpoint import Progress, load_state, save_state, save_tensors
from vkd.training.logging import RunLog
from vkd.training.task import Task


class Trainer:
    """Trains a task's module by a config and keeps the run in a folder.

    Args:
        task: model, data, losses and metrics.
        config: the recipe.
        folder: the run folder, made by ``open_run_folder``.
        show: print progress.
    """

    def __init__(self, task: Task, config: TrainingConfig, folder: Path, show: bool = True) -> None:
        self.task, self.config, self.folder, self.show = task, config, folder, show
        self.accelerator, self._rollbacks = make_accelerator(config), 0
        is_sharded = self.accelerator.distributed_type == DistributedType.FSDP
        if config.ema_decay and is_sharded:
            raise UserError("--ema-decay needs whole weights on each process; not with FSDP.")
        self._ema = ModelEmaV3(task.model, config.ema_decay) if config.ema_decay else None
        images = config.batch_size * config.accumulation * self.accelerator.num_processes
        lr = config.lr * images / (config.lr_reference_batch or images)
        optimizers = [_optimizer(turn.module, config, lr, not is_sharded) for turn in task.turns]
        count = len(task.turns)
        prepared = self.accelerator.prepare(
            *(turn.module for turn in task.turns),
            *optimizers,
            task.train_loader(),
            task.validation_loader(),
        )
        self.modules, self.optimizers = prepared[:count], prepared[count : 2 * count]
        self.train_batches, self.validation_batches = prepared[2 * count :]
        if len(self.train_batches) < 1:
            raise UserError("--batch-size is larger than the training set; no batch is full.")
        if self._ema is not None:
            self._ema.to(self.accelerator.device)
            self.accelerator.register_for_checkpointing(self._ema)
        # timm counts updates; accelerate's loader is one epoch of this process.
        self.updates_per_epoch = math.ceil(len(self.train_batches) / config.accumulation)
        self.schedulers = [_scheduler(o, config, lr, self.updates_per_epoch) for o in optimizers]

    def fit(self, resume: bool = False) -> dict[str, float]:
        """Train to the last epoch and return the validation metrics of the final weights.

        An epoch is refused whose losses are not finite, or that the task finds at fault. The run
        then goes back to its last checkpoint and on with other random numbers, ``rollbacks``
        times at most.

        Raises:
            RunError: when it would have to go back once more; the last checkpoint stays.
        """
        config = self.config
        progress = load_state(self.accelerator, self.folder) if resume else Progress()
        self._step_schedules(progress)
        metrics: dict[str, float] = {}
        with RunLog(
            self.folder,
            config.epochs,
            len(self.train_batches),
            self.task.metric,
            progress.epoch,
            self.accelerator.is_main_process,
            self.show,
            config.tensorboard,
        ) as log:
            while progress.epoch < config.epochs:
                began = monotonic()
                terms = self._train_epoch(progress, log)
                record: dict[str, Any] = {"epoch": progress.epoch, "updates": progress.updates}
                record |= {"lr": self.optimizers[0].param_groups[0]["lr"], "train": terms}
                last = progress.epoch == config.epochs
                if last or progress.epoch % config.evaluate_every == 0:
                    record["validation"] = metrics = self.evaluate()
                    self._illustrate(progress)
                fault = _non_finite(terms) or self.task.diagnose(
                    terms, record.get("validation", {})
                )
                if fault:
                    progress = self._roll_back(fault, progress, log)
                    continue
                log.epoch(record | {"seconds": round(monotonic() - began, 3)})
                if last or progress.epoch % config.checkpoint_every == 0:
                    self._save_weights()
                    save_state(self.accelerator, self.folder, progress)
        return metrics or self.evaluate()

    def evaluate(self) -> dict[str, float]:
        """Return the validation metrics of the (averaged) weights."""
        return self.task.evaluate(self._evaluated, self.validation_batches, self.accelerator)

    @property
    def _evaluated(self) -> nn.Module:
        # Through the wrapper, which gathers the weights where they are sharded.
        return self.modules[0] if self._ema is None else self._ema.module

    def _illustrate(self, progress: Progress) -> None:
        picture = self.task.illustrate(self._evaluated, self.accelerator.device)
        if picture is not None and self.accelerator.is_main_process:
            file = self.folder / "samples" / f"epoch-{progress.epoch:05d}.png"
            file.parent.mkdir(exist_ok=True)
            picture.save(file)

    def _train_epoch(self, progress: Progress, log: RunLog) -> dict[str, float]:
        for module in self.modules:
            module.train()
        self.train_batches.set_epoch(progress.epoch)
        # Summed on the device: reading a value would make the host wait at every step.
        totals: dict[str, torch.Tensor] = {}
        counts: dict[str, int] = {}
        for batch in self.train_batches:
            with self.accelerator.accumulate(*self.modules):
                for index, turn in enumerate(self.task.turns):
                    if progress.updates % turn.every == 0:
                        for name, term in self._take_turn(index, batch).items():
                            totals[name] = totals.get(name, 0) + term.detach().float()
                            counts[name] = counts.get(name, 0) + 1
            if self.accelerator.sync_gradients:
                progress.updates += 1
                self._step_schedules(progress)
                if self._ema is not None:
                    self._ema.update(self.task.model)
            log.step()
        progress.epoch += 1
        stacked = torch.stack([total / counts[name] for name, total in totals.items()])
        means = self.accelerator.reduce(stacked, "mean").tolist()
        terms = dict(zip(totals, means, strict=True))
        return terms | {"loss": sum(terms.values())}

    def _take_turn(self, index: int, batch: Any) -> dict[str, torch.Tensor]:
        module, optimizer = self.modules[index], self.optimizers[index]
        terms = module(batch)
        self.accelerator.backward(torch.stack(list(terms.values())).sum())
        if self.accelerator.sync_gradients and self.config.clip_grad:
            self.accelerator.clip_grad_norm_(module.parameters(), self.config.clip_grad)
        optimizer.step()
        optimizer.zero_grad()
        return terms

    def _step_schedules(self, progress: Progress) -> None:
        for scheduler in self.schedulers:
            scheduler.step_update(progress.updates)

    def _roll_back(self, fault: str, progress: Progress, log: RunLog) -> Progress:
        message = f"{fault} in epoch {progress.epoch}"
        if self._rollbacks == self.config.rollbacks:
            raise RunError(
                f"{message}; lower --lr or set --clip-grad. The last checkpoint in "
                f"{self.folder} is untouched."
            )
        self._rollbacks += 1
        back = load_state(self.accelerator, self.folder)
        if back.epoch == 0:
            raise RunError(f"{message}, before there was a checkpoint to go back to.")
        log.note(f"{message}; going on from epoch {back.epoch} with other random numbers.")
        set_seed(self.config.seed + 1000 * self._rollbacks, device_specific=True)
        self._step_schedules(back)
        log.rewind(back.epoch)
        return back

    def _save_weights(self) -> None:
        # All processes take part, as each may hold a shard.
        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        whole: dict[str, Any] = {}
        for module in self.modules:
            whole |= get_model_state_dict(module, options=options)
        if not self.accelerator.is_main_process:
            return
        metadata = self.task.metadata() | {"recipe": json.dumps(asdict(self.config))}
        named = self.task.turns[0].module.named_modules()
        prefix = next(name for name, module in named if module is self.task.model) + "."
        weights = {
            name.removeprefix(prefix): tensor
            for name, tensor in whole.items()
            if name.startswith(prefix)
        }
        if self._ema is not None:
            weights = self._ema.module.state_dict()
        save_tensors(weights, self.folder / "model.safetensors", metadata)
        for name, tensors in self.task.extra_state(whole).items():
            save_tensors(tensors, self.folder / f"{name}.safetensors", metadata)


def _non_finite(terms: dict[str, float]) -> str:
    bad = next((name for name, value in terms.items() if not math.isfinite(value)), "")
    return f"The loss term {bad} is {terms[bad]}" if bad else ""


def make_accelerator(config: TrainingConfig) -> Accelerator:
    """Return the accelerator for a config's device, precision and accumulation.

    Raises:
        UserError: if the device asked for is not there.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(config.device, True):
        raise UserError(f"--device {config.device} is not available here; use auto or cpu.")
    # A teacher may train in another precision, earlier in this process.
    AcceleratorState._reset_state(reset_partial_state=False)
    on_cpu = config.device == "cpu" or not (available["cuda"] or available["mps"])
    if config.mixed_precision == "fp16" and on_cpu:
        warnings.warn("There is no fp16 on the CPU; training in float32.", stacklevel=2)
    return Accelerator(
        cpu=on_cpu,  # without a GPU, accelerate joins torchrun's processes only when told so
        mixed_precision="no"
        if on_cpu and config.mixed_precision == "fp16"
        else config.mixed_precision,
        gradient_accumulation_steps=config.accumulation,
        dataloader_config=DataLoaderConfiguration(use_seedable_sampler=True, data_seed=config.seed),
        step_scheduler_with_optimizer=False,
    )


def check_training(config: TrainingConfig) -> None:
    """Raise a UserError for an optimiser or schedule that cannot be had, before hours of work."""
    known = [str(name) for name in list_optimizers()]
    if config.optimizer not in known:
        found = f"--optimizer {config.optimizer} is none of timm's"
        raise UserError(f"{found}{nearest(config.optimizer, known)}")
    flag = f"--optimizer {config.optimizer}"
    try:
        optimizer = _optimizer(nn.Linear(1, 1), config, config.lr)
        flag = f"--schedule {config.schedule}"
        _scheduler(optimizer, config, config.lr, updates_per_epoch=1)
    except (AssertionError, ImportError, TypeError, ValueError) as error:
        raise UserError(f"{flag} cannot be had: {error}") from error


def _optimizer(
    module: nn.Module, config: TrainingConfig, lr: float, fused: bool = True
) -> torch.optim.Optimizer:
    known = inspect.signature(get_optimizer_class(config.optimizer)).parameters
    # A fused step is faster; not all of torch's can be sharded.
    options: dict[str, Any] = {"fused": True} if fused and "fused" in known else {}
    if config.beta1 != 0.9:
        if "betas" not in known:
            raise ValueError("it has no --beta1")
        options["betas"] = (config.beta1, 0.999)
    scale_of: Callable[[str], float] | None = getattr(module, "lr_scale", None)
    if scale_of is None:
        return create_optimizer_v2(
            module, opt=config.optimizer, lr=lr, weight_decay=config.weight_decay, **options
        )
    scales = {parameter: scale_of(name) for name, parameter in module.named_parameters()}
    spared: Callable[[], set[str]] = getattr(module, "no_weight_decay", set)
    groups = param_groups_weight_decay(module, config.weight_decay, no_weight_decay_list=spared())
    # timm's schedules multiply the rate of a group by its lr_scale.
    scaled = [
        group | {"params": chosen, "lr": lr * scale, "lr_scale": scale}
        for group in groups
        for scale in sorted(set(scales.values()))
        if (chosen := [p for p in group["params"] if scales[p] == scale])
    ]
    return create_optimizer_v2(scaled, opt=config.optimizer, lr=lr, weight_decay=0.0, **options)


def _scheduler(
    optimizer: torch.optim.Optimizer, config: TrainingConfig, lr: float, updates_per_epoch: int
) -> Scheduler:
    scheduler, _ = create_scheduler_v2(
        optimizer,
        config.schedule,
        num_epochs=config.epochs - config.warmup_epochs,
        warmup_epochs=config.warmup_epochs,
        warmup_lr=lr / 100,
        warmup_prefix=True,
        min_lr=config.min_lr,
        step_on_epochs=False,
        updates_per_epoch=updates_per_epoch,
    )
    if scheduler is None:
        raise ValueError("its rate would never change; constant is a schedule too")
    return scheduler
