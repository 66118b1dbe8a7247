"""The training step of DeiT-Ti with RegNetY-160, and how much of the device's arithmetic it uses.

The utilisation counts three forward passes of the student, and one of a teacher that is run, in
operations of two for each multiply-add, over the measured time, over the device's peak.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gpu_checks.context import Context
from gpu_checks.modules import Step, Work, classifier, classifier_teacher
from gpu_checks.peak import peak_of
from gpu_checks.rows import Baseline, Row, measured

_ROWS = 4096  # of the store, which are read over and over


def check(context: Context) -> Iterator[Row]:
    """Yield the device's peak, then the rows of each batch size."""
    rate, source = peak_of(context)
    kind = str(context.half).removeprefix("torch.")
    yield measured(f"peak of dense products in {kind}", rate / 1e12, "TFLOP/s", note=source)
    for size in context.sized((256, 512), (8, 16)):
        yield from context.part(f"batch {size}", steps(context, size, rate))


def steps(context: Context, size: int, rate: float) -> Iterator[Row]:
    """Yield milliseconds and utilisation of the student alone, with a store, with the network."""
    with tempfile.TemporaryDirectory() as name:
        baseline = None
        for what, work, macs in _works(context, size, Path(name)):
            step = Step(context, work, context.half)
            taken = context.seconds({what: step})[what]
            share = 100 * 2 * macs * size / taken / rate
            memory = context.peak_memory(step)
            parts = (f"MFU {share:.1f} %", f"{size / taken:,.0f} images/s", memory)
            note = ", ".join(part for part in parts if part)
            yield measured(f"batch {size}, {what}", 1e3 * taken, "ms", baseline, note)
            baseline = baseline or Baseline("student alone", 1e3 * taken)


def _works(context: Context, size: int, folder: Path) -> Iterator[tuple[str, Work, float]]:
    """What to train, with its multiply-adds for an image."""
    from vkd.models.cost import model_cost

    work = classifier(context, size)
    image = work.batch[0][:1].cpu()
    student = 3 * model_cost(work.module.get_submodule("student"), image)["macs"]
    yield "student alone", work, student
    # The network comes last, so that it takes no memory of the others; the former work goes.
    teacher = classifier_teacher(context)
    theirs = model_cost(teacher, image)["macs"]
    stored = stored_teacher(context, folder, teacher)
    work = classifier(context, size, stored)
    rows = torch.arange(size, device=context.device) % stored.description.rows
    yield "VkD with the store", work._replace(batch=(*work.batch[:2], rows)), student
    work = classifier(context, size, teacher)
    yield "VkD with the network", work, student + theirs


def stored_teacher(context: Context, folder: Path, teacher: nn.Module) -> Any:
    """Return a store on disk of rows as wide as a teacher's outputs, of drawn numbers."""
    from vkd.models import last_layer
    from vkd.store import DiskTeacher, file_of, open_store, write_rows
    from vkd.store_description import StoreDescription
    from vkd.teacher import NetworkTeacher, TeacherOutput, widths_of

    network = NetworkTeacher(teacher, last_layer(teacher))
    shape = context.sized((3, 224, 224), (1, 8, 8))
    widths, classes = widths_of(network(torch.zeros(2, *shape)))
    network.close()
    assert classes is not None
    count = context.sized(_ROWS, 32)
    names = [str(number) for number in range(classes)]
    description = StoreDescription(count, 1, 0, "float16", names)
    open_store(folder / "store", description)
    features = {layer: torch.randn(count, width) for layer, width in widths.items()}
    outputs = TeacherOutput(features, torch.randn(count, classes))
    write_rows(file_of(folder / "store", 0), outputs, "float16")
    return DiskTeacher(folder / "store")
