"""Where the time of our step goes: by part of it, and by operator."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.autograd import DeviceType
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile, record_function

from steps.pair import Pair
from steps.rows import OwnStep, own_task

STEPS, SHOWN_OPERATORS = 2, 5
# How the names of ranges begin, ours and those of the profiler for optimisers and backward passes.
PREFIX, OPTIMISER = "vkd: ", "Optimizer."
NODE = "autograd::engine::evaluate_function: "
STUDENT, REST = "student", "rest: mixing, label loss, matching, host"


def profile_of(pair: Pair) -> dict[str, list[dict[str, Any]]]:
    """Return all ``parts`` and the largest ``operators`` of our step with the teacher's network.

    Each has its ``name``, ``milliseconds`` of a step, its ``share`` of these, and ``faster``: how
    many times as fast the step would be if it were free. On CUDA the time is the device's.
    """
    torch.manual_seed(0)
    config, task = own_task(pair)
    step = OwnStep(pair, config, task)
    for name, module in pair.parts(task).items():
        _mark(module, PREFIX + name)
    step()
    steps = 1 if pair.settings.quick else STEPS
    is_cuda = step.accelerator.device.type == "cuda"
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * is_cuda
    with profile(activities=activities) as found:
        for _ in range(steps):
            with record_function(PREFIX + REST):
                step()
    events = [event for event in found.events() if event.device_type == DeviceType.CPU]
    forward = _forward_parts(events)
    parts: Counter[str] = Counter()
    operators: Counter[str] = Counter()
    for event in events:
        part = _part(event, forward)
        time = event.self_device_time_total if is_cuda else event.self_cpu_time_total
        if part:
            parts[part] += time
            is_range = event.name.startswith((PREFIX, OPTIMISER, NODE))
            operators[f"host ({part})" if is_range else f"{event.name} ({part})"] += time
    return {
        "parts": _largest(parts, len(parts), steps),
        "operators": _largest(operators, SHOWN_OPERATORS, steps),
    }


def _mark(module: nn.Module, name: str) -> None:
    """Let profiles show a module's forward pass as a range of this name."""
    ranges: list[record_function] = []

    def enter(*_: Any) -> None:
        ranges.append(record_function(name))
        ranges[-1].__enter__()

    module.register_forward_pre_hook(enter)
    module.register_forward_hook(lambda *_: ranges.pop().__exit__(None, None, None))


def _forward_parts(events: list[FunctionEvent]) -> dict[int, str]:
    """The part of a forward pass by the number that its operators share with the backward's.

    Of several operators of a number the last is the one that has a backward pass.
    """
    ordered = sorted(events, key=lambda event: event.time_range.start)
    return {
        event.sequence_nr: _part(event, {})
        for event in ordered
        if event.sequence_nr >= 0 and not any(e.name.startswith(NODE) for e in _upwards(event))
    }


def _part(event: FunctionEvent, forward: dict[int, str]) -> str:
    """The part of a step that an event belongs to; nothing outside of steps."""
    for outer in _upwards(event):
        if outer.name.startswith(OPTIMISER):
            return "optimiser"
        if outer.name.startswith(PREFIX):
            return outer.name.removeprefix(PREFIX)
        if outer.name.startswith(NODE):
            # Gradients are added up in the student but for a few.
            part = forward.get(outer.sequence_nr, STUDENT)
            return f"{part}, backward" if part == STUDENT else part
    return ""


def _upwards(event: FunctionEvent) -> Iterator[FunctionEvent]:
    """An event and those around it, from the inside."""
    around: FunctionEvent | None = event
    while around is not None:
        yield around
        around = around.cpu_parent


def _largest(times: Counter[str], count: int, steps: int) -> list[dict[str, Any]]:
    total = sum(times.values())
    return [
        {
            "name": name,
            "milliseconds": round(time / steps / 1e3, 2),
            "share": round(time / total, 4),
            "faster": round(total / (total - time), 3),
        }
        for name, time in times.most_common(count)
    ]
