"""No training step may make the host wait for the GPU; that of detection once, to match.

Steps run under ``torch.cuda.set_sync_debug_mode("error")``, where whatever waits raises. That of
detection runs under ``warn``, which counts; its parts around the matching run under ``error``, too.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from gpu_checks.context import Context, UnavailableError
from gpu_checks.modules import (
    Step,
    classifier,
    classifier_teacher,
    detector,
    gan,
    pictures,
    token_loss,
    vidt,
)
from gpu_checks.rows import Row, held, limited

_WARM_UP = 3
# How torch calls what waits.
_WAITS = "called a synchronizing"


def check(context: Context) -> Iterator[Row]:
    """Yield a row for each task's step, and each precision of the first."""
    yield from context.part("what waits is found", found_at_all(context))
    precisions = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    for name, dtype in precisions.items():
        what = f"classification, {name}"
        yield from context.part(what, classification(context, what, dtype))
    what = "classification of mixed images"
    mixing = {"mixup": 0.8, "cutmix": 1.0, "label_smoothing": 0.1}
    yield from context.part(what, classification(context, what, context.half, mixing))
    what = "detection around the matching"
    yield from context.part(what, detection_parts(context, what))
    yield from context.part("detection", detection(context))
    for name in ("discriminator", "generator"):
        yield from context.part(f"generation, {name}", generation(context, name))


@contextmanager
def waits(context: Context, mode: Literal["warn", "error"]) -> Iterator[list[str]]:
    """Make what waits raise, or list it; nothing is seen on the CPU."""
    found: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if context.has_cuda:
            torch.cuda.synchronize()
            torch.cuda.set_sync_debug_mode(mode)
        try:
            yield found
        finally:
            if context.has_cuda:
                torch.cuda.set_sync_debug_mode("default")
        texts = [str(warning.message) for warning in caught]
        found += [text for text in texts if _WAITS in text]


def found_at_all(context: Context) -> Iterator[Row]:
    """Yield whether reading a value counts as waiting, without which no other row means much."""
    context.require_cuda()
    value = torch.ones((), device=context.device)
    with waits(context, "warn") as found:
        value.item()
    try:
        with waits(context, "error"):
            value.item()
    except RuntimeError as error:
        raises = _WAITS in str(error)
    else:
        raises = False
    yield held("what waits is found", bool(found) and raises, "reading a value")


def never_waits(context: Context, what: str, step: Callable[[], object]) -> Row:
    """Return the row of a step that must not wait, after steps to warm up."""
    for _ in range(context.sized(_WARM_UP, 1)):
        step()
    try:
        with waits(context, "error"):
            step()
    except RuntimeError as error:
        if _WAITS not in str(error):
            raise
        return held(what, False, f"waits in {_place(error)}")
    if not context.has_cuda:
        raise UnavailableError("needs CUDA; the step itself runs")
    return held(what, True, "no wait")


def _place(error: BaseException) -> str:
    """File and line that an error was raised from: the innermost of ours, else of all."""
    frames, trace = [], error.__traceback__
    while trace is not None:
        frames.append((trace.tb_frame.f_code.co_filename, trace.tb_lineno))
        trace = trace.tb_next
    ours = [frame for frame in frames if "src/vkd/" in frame[0]]
    file, line = (ours or frames)[-1]
    return f"{'/'.join(file.split('/')[-2:])}:{line}"


def classification(
    context: Context, what: str, dtype: torch.dtype, fields: dict[str, float] | None = None
) -> Iterator[Row]:
    """Yield the row of a distilled classifier's step."""
    context.require(dtype)
    work = classifier(context, 8, classifier_teacher(context), **(fields or {}))
    yield never_waits(context, what, Step(context, work, dtype))


def detection_parts(context: Context, what: str) -> Iterator[Row]:
    """Yield the row of a detector, the distance of its tokens and the backward pass."""
    name = context.sized("vidt_nano", "vidt_digits")
    student, teacher = (vidt(name).to(context.device) for _ in range(2))
    loss = token_loss(student, teacher).to(context.device)
    teacher.eval().requires_grad_(False)
    images = pictures(context, 2)

    def step() -> None:
        with torch.autocast(context.device.type, context.half):
            with torch.no_grad():
                target = teacher(images, with_tokens=True)["tokens"]
            outputs = student(images, with_tokens=True)
            total = loss(outputs["tokens"], target)
        # Of each head a little, so that all have gradients.
        for part in (outputs, *outputs["aux_outputs"]):
            total = total + part["pred_logits"].float().mean() + part["pred_boxes"].float().mean()
        total.backward()
        student.zero_grad()

    yield never_waits(context, what, step)


def detection(context: Context) -> Iterator[Row]:
    """Yield the number of times that a distilled detector's whole step waits."""
    name = context.sized("vidt_nano", "vidt_digits")
    step = Step(context, detector(context, name, 2, teacher=name), context.half)
    for _ in range(context.sized(_WARM_UP, 1)):
        step()
    with waits(context, "warn") as found:
        step()
    if not context.has_cuda:
        raise UnavailableError("needs CUDA; the step itself runs")
    yield limited("detection, the whole step", len(found), 1, "waits", note="one to match")


def generation(context: Context, name: str) -> Iterator[Row]:
    """Yield the row of the discriminator or the generator."""
    step = Step(context, gan(context, context.sized(64, 4))[name], torch.float32)
    yield never_waits(context, f"generation, {name}", step)
