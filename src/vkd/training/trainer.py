"""The training loop."""

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
from accelerate.utils import DataLoaderConfiguration, DistributedType
from timm.optim import create_optimizer_v2, param_groups_weight_decay
from timm.scheduler import create_scheduler_v2
from timm.utils import ModelEmaV3
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

from vkd.config import TrainingConfig
from vkd.errors import RunError, UserError
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
        self.accelerator = make_accelerator(config)
        if config.ema_decay and self.accelerator.distributed_type == DistributedType.FSDP:
            raise UserError("--ema-decay needs whole weights on each process; not with FSDP.")
        self._ema = ModelEmaV3(task.model, config.ema_decay) if config.ema_decay else None
        images = config.batch_size * config.accumulation * self.accelerator.num_processes
        lr = config.lr * images / (config.lr_reference_batch or images)
        optimizer = _optimizer(task.module, config, lr)
        self.module, self.optimizer, self.train_batches, self.validation_batches = (
            self.accelerator.prepare(
                task.module, optimizer, task.train_loader(), task.validation_loader()
            )
        )
        if len(self.train_batches) < 1:
            raise UserError("--batch-size is larger than the training set; no batch is full.")
        if self._ema is not None:
            self._ema.to(self.accelerator.device)
            self.accelerator.register_for_checkpointing(self._ema)
        # timm counts updates; accelerate's loader is one epoch of this process.
        self.updates_per_epoch = math.ceil(len(self.train_batches) / config.accumulation)
        self.scheduler, _ = create_scheduler_v2(
            optimizer,
            config.schedule,
            num_epochs=config.epochs - config.warmup_epochs,
            warmup_epochs=config.warmup_epochs,
            warmup_lr=lr / 100,
            warmup_prefix=True,
            min_lr=config.min_lr,
            step_on_epochs=False,
            updates_per_epoch=self.updates_per_epoch,
        )
        if self.scheduler is None:
            raise UserError(f"--schedule {config.schedule} is none of timm's, such as cosine.")

    def fit(self, resume: bool = False) -> dict[str, float]:
        """Train to the last epoch and return the validation metrics of the final weights.

        Raises:
            RunError: if a loss is not finite; the last checkpoint stays as it was.
        """
        config = self.config
        progress = load_state(self.accelerator, self.folder) if resume else Progress()
        self.scheduler.step_update(progress.updates)
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
                record |= {"lr": self.optimizer.param_groups[0]["lr"], "train": terms}
                last = progress.epoch == config.epochs
                if last or progress.epoch % config.evaluate_every == 0:
                    record["validation"] = metrics = self.evaluate()
                log.epoch(record | {"seconds": round(monotonic() - began, 3)})
                if last or progress.epoch % config.checkpoint_every == 0:
                    self._save_weights()
                    save_state(self.accelerator, self.folder, progress)
        return metrics or self.evaluate()

    def evaluate(self) -> dict[str, float]:
        """Return the validation metrics of the (averaged) weights."""
        # Through the wrapper, which gathers the weights where they are sharded.
        model = self.module if self._ema is None else self._ema.module
        return self.task.evaluate(model, self.validation_batches, self.accelerator)

    def _train_epoch(self, progress: Progress, log: RunLog) -> dict[str, float]:
        self.module.train()
        self.train_batches.set_epoch(progress.epoch)
        totals: dict[str, torch.Tensor] = {}
        for batch in self.train_batches:
            with self.accelerator.accumulate(self.module):
                terms = self.module(batch)
                loss = torch.stack(list(terms.values())).sum()
                self.accelerator.backward(loss)
                if self.accelerator.sync_gradients and self.config.clip_grad:
                    self.accelerator.clip_grad_norm_(
                        self.module.parameters(), self.config.clip_grad
                    )
                self.optimizer.step()
                self.optimizer.zero_grad()
            if self.accelerator.sync_gradients:
                progress.updates += 1
                self.scheduler.step_update(progress.updates)
                if self._ema is not None:
                    self._ema.update(self.task.model)
            # Summed on the device: reading a value would make the host wait at every step.
            for name, term in (terms | {"loss": loss}).items():
                totals[name] = totals.get(name, 0) + term.detach().float()
            log.step()
        progress.epoch += 1
        return self._means(totals, progress.epoch)

    def _means(self, totals: dict[str, torch.Tensor], epoch: int) -> dict[str, float]:
        stacked = torch.stack(list(totals.values())) / len(self.train_batches)
        means = self.accelerator.reduce(stacked, "mean").tolist()
        terms = dict(zip(totals, means, strict=True))
        for name, value in terms.items():
            if not math.isfinite(value):
                raise RunError(
                    f"The loss term {name} is {value} in epoch {epoch}; lower --lr or set "
                    f"--clip-grad. The last checkpoint in {self.folder} is untouched."
                )
        return terms

    def _save_weights(self) -> None:
        # All processes take part, as each may hold a shard.
        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        whole: dict[str, Any] = dict(get_model_state_dict(self.module, options=options))
        if not self.accelerator.is_main_process:
            return
        metadata = self.task.metadata() | {"recipe": json.dumps(asdict(self.config))}
        prefix = next(n for n, m in self.task.module.named_modules() if m is self.task.model) + "."
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


def _optimizer(module: nn.Module, config: TrainingConfig, lr: float) -> torch.optim.Optimizer:
    scale_of: Callable[[str], float] | None = getattr(module, "lr_scale", None)
    if scale_of is None:
        return create_optimizer_v2(
            module, opt=config.optimizer, lr=lr, weight_decay=config.weight_decay
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
    return create_optimizer_v2(scaled, opt=config.optimizer, lr=lr, weight_decay=0.0)
