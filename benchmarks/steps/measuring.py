"""Seconds and memory of rows, each in a process of its own, which take their steps in turn."""

import logging
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import psutil
import torch

from steps.pair import Pair, Step
from steps.rows import ROWS
from vkd.training.accelerator import make_accelerator

# A server that has imported what is slow to import, from which processes are forked.
CONTEXT = multiprocessing.get_context("forkserver")
PRELOADED = ["torch.profiler", "timm.task", "vkd.api.cache"]
PRELOADED += [f"vkd.{task}.task" for task in ("classification", "detection", "generation")]
CUDA_STEPS = 10
SLOW = {"release", "release-projection", "torchdistill"}
MIB = 2**20


@dataclass(frozen=True)
class Measured:
    """A row.

    Attributes:
        seconds: of a step, for each round.
        peak: MiB, the most memory of its process, or of its tensors on CUDA.
        step: MiB of these that were not there before the first step.
    """

    seconds: list[float]
    peak: float
    step: float


def apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a function returns in a process of its own."""
    with _process() as process:
        return process.submit(function, *arguments).result()


def measured(pair: Pair, names: list[str], rounds: int) -> dict[str, Measured]:
    """Return the rows of a pair by name.

    All take a step to warm up; in each round after that every row takes its turn, but those that
    are ``SLOW`` only in the first two. Every second round runs backwards, so that a machine that
    grows slower favours no row.
    """
    with ExitStack() as stack:
        processes = {name: stack.enter_context(_process()) for name in names}
        for name, process in processes.items():
            process.submit(_build, pair, name).result()
        taken: dict[str, list[float]] = {name: [] for name in names}
        for number in range(rounds + 1):
            for name in names if number % 2 else reversed(names):
                if name not in SLOW or number <= 2:
                    taken[name].append(processes[name].submit(_take).result())
        return {
            name: Measured(taken[name][1:], *process.submit(_memory).result())
            for name, process in processes.items()
        }


def _process() -> ProcessPoolExecutor:
    CONTEXT.set_forkserver_preload(PRELOADED)
    return ProcessPoolExecutor(1, CONTEXT, initializer=_quieten)


def _quieten() -> None:
    # Notes about made images and random weights are no news here.
    logging.getLogger("vkd").setLevel(logging.ERROR)


# What a process has built: its row's step, its device, and the memory before the first step.
_built: tuple[Step, torch.device, float]


def _build(pair: Pair, name: str) -> None:
    global _built
    torch.manual_seed(0)
    step, device = ROWS[name](pair), make_accelerator(pair.config()).device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        present = torch.cuda.memory_allocated()
    else:
        present = psutil.Process().memory_info().rss
    _built = step, device, present


def _take() -> float:
    """Seconds of a step; on CUDA the mean of several, after one that finds memory again."""
    step, device, _ = _built
    if device.type != "cuda":
        return _seconds(step, 1)
    step()
    torch.cuda.synchronize()

    def steps() -> None:
        for _ in range(CUDA_STEPS):
            step()
        torch.cuda.synchronize()

    seconds = _seconds(steps, CUDA_STEPS)
    torch.cuda.empty_cache()  # others take their turns
    return seconds


def _seconds(run: Step, steps: int) -> float:
    began = time.perf_counter()
    run()
    return (time.perf_counter() - began) / steps


def _memory() -> tuple[float, float]:
    _, device, present = _built
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated()
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        peak *= 1 if sys.platform == "darwin" else 1024
    return peak / MIB, (peak - present) / MIB
