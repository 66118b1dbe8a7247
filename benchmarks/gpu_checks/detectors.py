"""Images per second of the ViDT detectors at COCO's size, in inference and in training."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gpu_checks.context import Context
from gpu_checks.modules import Step, detector, pictures
from gpu_checks.rows import Baseline, Row, measured
from vkd.models import create_model

_IMAGES = 8
_TRAINED = 2  # images of a step on one GPU in the paper


def check(context: Context) -> Iterator[Row]:
    """Yield rows of each detector, the small ones first."""
    for name in context.sized(("vidt_nano", "vidt_tiny", "vidt_base"), ("vidt_digits",)):
        yield from context.part(f"{name}, inference", inference(context, name))
        yield from context.part(f"{name}, training", training(context, name))
    name, teacher = context.sized(("vidt_nano", "vidt_base"), ("vidt_digits", "vidt_digits_large"))
    what = f"{name}, training with {teacher}"
    yield from context.part(what, training(context, name, teacher))


@contextmanager
def plain_sampling() -> Iterator[None]:
    """Sample in plain PyTorch, where the kernels would."""
    from vkd.models.vidt import deformable_attention

    own = deformable_attention.sample
    deformable_attention.sample = deformable_attention.sample_levels
    try:
        yield
    finally:
        deformable_attention.sample = own


def inference(context: Context, name: str) -> Iterator[Row]:
    """Yield images per second in half precision, of one image and of several."""
    model = create_model(name).eval().to(context.device)
    for count in (1, context.sized(_IMAGES, 2)):
        images = torch.stack([pictures(context, count)[0]] * count)
        run = partial(_forward, context, model, images)
        ways: dict[str, Callable[[], Any]] = {"ours": run, "plain sampling": _plainly(run)}
        taken = context.seconds(ways) if context.has_cuda else context.seconds({"ours": run})
        baseline = None
        if "plain sampling" in taken:
            baseline = Baseline("plain sampling", count / taken["plain sampling"])
        what = f"{name}, inference, {count} of {images.shape[2]} x {images.shape[3]}"
        note = context.peak_memory(run)
        yield measured(what, count / taken["ours"], "images/s", baseline, note)


@torch.no_grad()
def _forward(context: Context, model: torch.nn.Module, images: Tensor) -> Any:
    with torch.autocast(context.device.type, context.half):
        return model(images)


def _plainly(run: Callable[[], Any]) -> Callable[[], Any]:
    def plain() -> Any:
        with plain_sampling():
            return run()

    return plain


def training(context: Context, name: str, teacher: str = "") -> Iterator[Row]:
    """Yield images per second of a whole training step, with a teacher's tokens if named."""
    step = Step(context, detector(context, name, _TRAINED, teacher), context.half)
    taken = context.seconds({"step": step})["step"]
    what = f"{name}, training" + (f" with {teacher}" if teacher else "") + f", batch {_TRAINED}"
    yield measured(what, _TRAINED / taken, "images/s", note=context.peak_memory(step))
