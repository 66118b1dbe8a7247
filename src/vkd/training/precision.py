"""The precision of a run's teacher: chosen by timing the device once, and kept in the run folder.

What was chosen decides the bits that a run computes, so a run that is resumed keeps it, and all
processes take that of the first.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from vkd.errors import UserError
from vkd.files import read_json, write_json
from vkd.notes import say
from vkd.precision import AS_AROUND, FLOAT32, HasPrecision, Precision, choose, measure, name_of
from vkd.training.checkpoint import finished_epochs

_FILE = "precision.json"
# By their names in the file; that of the step is whatever the step has.
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "step": None}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_LOW = {"bf16": torch.bfloat16, "fp16": torch.float16}
_BFLOAT16 = Precision(torch.bfloat16, channels_last=True)


def settle_precision(
    teacher: HasPrecision | None,
    accelerator: Accelerator,
    folder: Path,
    resume: bool,
    channels_last: bool = False,
) -> None:
    """Choose the precision of a run's teacher where the recipe leaves it open, and say it.

    It is bfloat16 where the device is clearly faster with it; under mixed precision the teacher
    computes as the step does, and the layout alone is chosen. Where a low precision is used and
    is slower than float32 on this device, that is said with the factor.

    Args:
        teacher: the frozen network that runs in every step; None where none does.
        accelerator: of the processes.
        folder: the run folder, which keeps the choice.
        resume: whether a run goes on; one of an earlier version goes on without a choice.
        channels_last: the layout of the student's images.

    Raises:
        UserError: if the choice in the run folder is damaged.
    """
    device, mixed = accelerator.device, str(accelerator.mixed_precision)
    if teacher is not None and teacher.precision == AS_AROUND:
        chosen = [AS_AROUND]
        if accelerator.is_main_process:
            chosen = [_of_run(folder, resume, device, _LOW.get(mixed))]
        (teacher.precision,) = broadcast_object_list(chosen)
    if not accelerator.is_main_process:
        return
    if mixed in _LOW:
        _warn(f"mixed_precision {mixed}", device, Precision(_LOW[mixed], channels_last))
    if teacher is not None and teacher.precision.dtype == torch.bfloat16:
        # A run may have begun, or a recipe been written, on another device.
        _warn("The teacher runs in bfloat16", device, teacher.precision)


def _of_run(
    folder: Path, resume: bool, device: torch.device, step: torch.dtype | None
) -> Precision:
    """The choice of the run in a folder, made now and kept where it has none."""
    file = folder / _FILE
    if resume and file.is_file():
        return _read(file)
    if resume and finished_epochs(folder) is not None:
        return AS_AROUND
    if torch.are_deterministic_algorithms_enabled():
        return _fixed(file, step)
    seconds = _measured(device, step or torch.bfloat16)
    if step is not None:
        layouts = {one: seconds[one] for one in (Precision(step), Precision(step, True))}
        chosen = Precision(None, choose(layouts).channels_last)
    else:
        chosen = choose({one: seconds[one] for one in (FLOAT32, _BFLOAT16)})
        say("The teacher", [_sentence(chosen, seconds)])
    _write(file, chosen, seconds)
    return chosen


def _fixed(file: Path, step: torch.dtype | None) -> Precision:
    """The precision of a run whose bits must not depend on how fast the machine is just now."""
    chosen = FLOAT32 if step is None else Precision(None)
    if step is None:
        say("The teacher", ["runs in float32, as a choice by time would not give the same bits"])
    _write(file, chosen, {})
    return chosen


def _sentence(chosen: Precision, seconds: Mapping[Precision, float]) -> str:
    times = seconds[FLOAT32] / seconds[_BFLOAT16]
    if chosen == _BFLOAT16:
        return f"runs in {chosen} ({times:.1f} times as fast here as in float32)"
    if times < 1:
        return f"runs in float32, as bfloat16 takes {1 / times:.1f} times as long here"
    return f"runs in float32, as bfloat16 is only {times:.2f} times as fast here"


def _warn(what: str, device: torch.device, used: Precision) -> None:
    """Say it where a device is slower in a low precision than in float32."""
    dtype = used.dtype or torch.float32
    seconds = _measured(device, dtype)
    factor = seconds[used] / seconds[FLOAT32]
    if factor > 1:
        text = f"{name_of(dtype)} takes {factor:.1f} times as long as float32"
        say(what, [f"{text} on this {device.type}, by a short measurement"])


@cache
def _measured(device: torch.device, dtype: torch.dtype) -> Mapping[Precision, float]:
    """Seconds in float32, and in a lower ``dtype`` in both layouts."""
    return measure(device, [FLOAT32, Precision(dtype), Precision(dtype, True)])


def _write(file: Path, chosen: Precision, seconds: Mapping[Precision, float]) -> None:
    record = {"dtype": _NAMES[chosen.dtype], "channels_last": chosen.channels_last}
    times = {str(candidate): round(value, 6) for candidate, value in seconds.items()}
    write_json(file, {"teacher": record, "seconds": times})


def _read(file: Path) -> Precision:
    found = read_json(file).get("teacher")
    record: dict[str, Any] = found if isinstance(found, dict) else {}
    dtype, channels_last = record.get("dtype"), record.get("channels_last")
    if str(dtype) not in _DTYPES or not isinstance(channels_last, bool):
        raise UserError(f"{file} does not say the teacher's dtype and channels_last.")
    return Precision(_DTYPES[str(dtype)], channels_last)
