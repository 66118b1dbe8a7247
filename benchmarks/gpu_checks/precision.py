"""The loss of the digits recipe in half precision, step by step, against that in float32.

The teacher's outputs are those of float32 in all.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from gpu_checks.context import Context, package_of
from gpu_checks.rows import Row, limited, measured
from gpu_checks.small_images import SmallImages, Student, taught
from vkd.data.small import read_small
from vkd.teacher import MemoryTeacher

_STEPS = 100
# In % of the loss in float32, on average over the steps.
LIMIT = 10.0


def check(context: Context) -> Iterator[Row]:
    """Yield the mean and the largest deviation of each precision that the device has."""
    images, what = digits(context)
    teacher = taught(images, "cnn_digits", context.sized(10, 1), 64)
    steps = context.sized(_STEPS, 10)
    exact = Student(context, "digits", images, teacher).train(steps)
    note = f"{what}; {exact[0]:.3g} before"
    last = f"float32, loss after {steps} steps"
    yield measured(last, exact[-1].item(), "", note=note, behind=exact.tolist())
    for dtype in (torch.bfloat16, torch.float16):
        name = str(dtype).removeprefix("torch.")
        rows = deviation(context, dtype, images, teacher, exact)
        yield from context.part(f"{name}, {steps} steps", rows)


def digits(context: Context) -> tuple[SmallImages, str]:
    """Return scikit-learn's digits, or where it is missing images that are made, and a name."""
    try:
        found = SmallImages.of(read_small("digits"), context.device)
    except ModuleNotFoundError as error:
        return _made(context.device), f"made images, as {package_of(error)} is not installed"
    return found, "scikit-learn's digits"


def _made(device: torch.device) -> SmallImages:
    """Ten pictures of 8 x 8, each many times with noise."""
    random = torch.Generator().manual_seed(0)
    pictures = torch.randn(10, 1, 8, 8, generator=random)
    labels = torch.arange(720) % 10
    images = pictures[labels] + torch.randn(720, 1, 8, 8, generator=random)
    part = images.to(device), labels.to(device)
    return SmallImages(part, part, [str(number) for number in range(10)])


def deviation(
    context: Context,
    dtype: torch.dtype,
    images: SmallImages,
    teacher: MemoryTeacher,
    exact: Tensor,
) -> Iterator[Row]:
    """Yield how far the losses are from ``exact`` ones, in % of these."""
    context.require(dtype)
    name = str(dtype).removeprefix("torch.")
    student = Student(context, "digits", images, teacher, dtype)
    found = student.train(len(exact))
    shares = 100 * ((found - exact).abs() / exact).double()
    scale = student.step.scaler.get_scale()
    note = f"scale of gradients {scale:g} at the end" if dtype == torch.float16 else ""
    what = f"{name}, deviation of the loss over {len(exact)} steps"
    mean = shares.mean().item()
    yield limited(f"{what}, mean", mean, LIMIT, "%", note=note, behind=found.tolist())
    step = f"step {shares.argmax() + 1}"
    yield measured(f"{what}, largest", shares.max().item(), "%", note=step)
