"""The training step of DeiT-Ti with RegNetY-160, and how much of the device's arithmetic it uses.

Model FLOP utilisation (MFU): three forward passes of the student, and one of a teacher that is run,
at two operations for each multiply-add, over the measured time, over the device's peak. Stored
outputs lie in memory: bringing them from disk is the loader's work, as it is for images.
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch

from gpu_checks.context import Context
from gpu_checks.modules import Step, Work, classifier, classifier_teacher
from gpu_checks.peak import peak_of
from gpu_checks.rows import Baseline, Row, measured

# Returns what to train on a batch of that size, with its multiply-adds for an image.
Way = Callable[[Context, int], tuple[Work, float]]


def check(context: Context) -> Iterator[Row]:
    """Yield the device's peak, then each way to train at each batch size."""
    rate, source = peak_of(context)
    kind = str(context.half).removeprefix("torch.")
    yield measured(f"peak of dense products in {kind}", rate / 1e12, "TFLOP/s", note=source)
    for size in context.sized((256, 512), (8, 16)):
        baseline = None
        for name, way in WAYS.items():
            what = f"batch {size}, {name}"
            for row in context.part(what, step(context, what, way, size, rate, baseline)):
                if way is student_alone and row.value is not None:
                    baseline = Baseline(name, row.value)
                yield row


def step(
    context: Context, what: str, way: Way, size: int, rate: float, baseline: Baseline | None
) -> Iterator[Row]:
    """Yield the milliseconds of a step, with its utilisation and memory."""
    work, macs = way(context, size)
    run = Step(context, work, context.half)
    taken = context.seconds({what: run})[what]
    share = 100 * 2 * macs * size / taken / rate
    parts = (f"MFU {share:.1f} %", f"{size / taken:,.0f} images/s", context.peak_memory(run))
    note = ", ".join(part for part in parts if part)
    yield measured(what, 1e3 * taken, "ms", baseline, note)


def student_alone(context: Context, size: int) -> tuple[Work, float]:
    """Return the student without a teacher."""
    work = classifier(context, size)
    return work, 3 * _macs(work.module.get_submodule("student"), work)


def with_stored_outputs(context: Context, size: int) -> tuple[Work, float]:
    """Return the student with a teacher's outputs for the batch, which are found by index."""
    from vkd.models import last_layer
    from vkd.teacher import MemoryTeacher, NetworkTeacher

    alone, macs = student_alone(context, size)
    network = classifier_teacher(context)
    teacher = NetworkTeacher(network, last_layer(network))
    # Runs at the first step, and lets the network go.
    stored = MemoryTeacher(teacher, alone.batch[0].cpu(), batch_size=32)
    return classifier(context, size, stored)._replace(batch=alone.batch), macs


def with_the_network(
    context: Context, size: int, layout: torch.memory_format = torch.contiguous_format
) -> tuple[Work, float]:
    """Return the student with a teacher that runs in the step."""
    teacher = classifier_teacher(context).to(memory_format=layout)
    fields = {"channels_last": layout == torch.channels_last}
    work = classifier(context, size, teacher, **fields)
    return work, 3 * _macs(work.module.get_submodule("student"), work) + _macs(teacher, work)


def _macs(network: torch.nn.Module, work: Work) -> float:
    """Multiply-adds of a network for an image, counted on the CPU."""
    from vkd.models.cost import model_cost

    return model_cost(network.cpu(), work.batch[0][:1].cpu())["macs"]


WAYS: dict[str, Way] = {
    "student alone": student_alone,
    "VkD with stored outputs": with_stored_outputs,
    "VkD with the network": with_the_network,
    "VkD with the network, channels last": partial(with_the_network, layout=torch.channels_last),
}
