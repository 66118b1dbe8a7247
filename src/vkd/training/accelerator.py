"""The accelerator that a config asks for."""

import logging

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DataLoaderConfiguration

from vkd.config import TrainingConfig
from vkd.errors import FieldError
from vkd.training.determinism import settle_determinism
from vkd.training.processes import join_again

_log = logging.getLogger("vkd")


def make_accelerator(config: TrainingConfig) -> Accelerator:
    """Return the accelerator for a config's device, precision and accumulation.

    Raises:
        FieldError: if the device is not available.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(config.device, True):
        raise FieldError("device", f"{config.device} is not available here; use auto or cpu.")
    settle_determinism(config.deterministic)
    # A teacher may train in another precision, earlier in this process.
    AcceleratorState._reset_state(reset_partial_state=False)
    on_cpu = config.device == "cpu" or not (available["cuda"] or available["mps"])
    precision: str = config.mixed_precision
    if precision == "fp16" and on_cpu:
        _log.warning("There is no fp16 on the CPU; training in float32.")
        precision = "no"
    join_again("gloo" if on_cpu else "cpu:gloo,cuda:nccl")
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
