"""Deformable attention: the kernels against plain PyTorch, in values, gradients and speed.

Errors are the length of the difference to plain PyTorch in float32, on the same numbers, divided by
the length of the latter. Locations are multiples of 1/4096 (of what bfloat16 holds, in bfloat16),
so that both ways find every sample in the same cell: the gradient jumps from one to the next.
"""

import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gpu_checks.context import Context, UnavailableError, relative_error
from gpu_checks.rows import Baseline, Row, limited, measured

# 800 x 1333 pixels in patches of 8, 16, 32 and 64.
COCO = [(100, 167), (50, 84), (25, 42), (13, 21)]
TINY = [(7, 9), (4, 5), (2, 3), (1, 2)]
HEADS, CHANNELS, POINTS, IMAGES = 8, 32, 4, 2
TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 5e-3}

Sample = Callable[[Tensor, list[tuple[int, int]], Tensor, Tensor], Tensor]


def check(context: Context) -> Iterator[Row]:
    """Yield errors of each type of numbers, then times for each number of queries."""
    dtypes = (torch.float32, torch.bfloat16)
    for dtype in dtypes:
        name = _name(dtype)
        yield from context.part(f"{name}, errors", errors(context, dtype))
    for queries in (100, 300):
        for dtype in dtypes:
            what = f"{queries} queries, {_name(dtype)}"
            yield from context.part(f"{what}, times", times(context, dtype, queries, what))


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def kernel(context: Context) -> Sample:
    """Return the kernels; on the CPU, in a quick run, by Triton's interpreter."""
    if not context.has_cuda and os.environ.get("TRITON_INTERPRET") != "1":
        raise UnavailableError("needs CUDA")
    import triton  # noqa: F401 - its absence is told by its name

    from vkd.models.vidt.triton_sampling import sample_levels_by_kernel

    return sample_levels_by_kernel


def inputs(context: Context, queries: int) -> tuple[Tensor, list[tuple[int, int]], Tensor, Tensor]:
    """Return maps, their shapes, locations, some of them outside, and weights."""
    shapes = context.sized(COCO, TINY)
    heads, channels = context.sized((HEADS, CHANNELS), (2, 8))
    random = torch.Generator(context.device).manual_seed(0)
    draw = partial(torch.rand, generator=random, device=context.device)
    value = 2 * draw(IMAGES, sum(h * w for h, w in shapes), heads, channels) - 1
    locations = draw(IMAGES, queries, heads, len(shapes), POINTS, 2) * 1.2 - 0.1
    weights = draw(IMAGES, queries, heads, len(shapes) * POINTS).softmax(-1)
    exact = (locations * 4096).round() / 4096
    return value, shapes, exact, weights.view(*locations.shape[:-1])


def errors(context: Context, dtype: torch.dtype) -> Iterator[Row]:
    """Yield the error of values and gradients of the kernels."""
    from vkd.models.vidt.deformable_attention import sample_levels

    context.require(dtype)
    ours = kernel(context)
    value, shapes, locations, weights = inputs(context, context.sized(300, 5))
    rounded = [part.to(dtype) for part in (value, locations, weights)]
    grad = torch.randn(IMAGES, locations.shape[1], value.shape[2] * value.shape[3]).to(dtype)
    found = _passed(ours, rounded, shapes, grad.to(context.device))
    exact = [part.float() for part in rounded]
    expected = _passed(sample_levels, exact, shapes, grad.to(context.device).float())
    names = ("values", "gradients of maps", "gradients of locations", "gradients of weights")
    for name, one, other in zip(names, found, expected, strict=True):
        what = f"{_name(dtype)}, error of {name}"
        note = "" if context.has_cuda else "by Triton's interpreter"
        yield limited(what, relative_error(one, other), TOLERANCES[dtype], note=note)


def _passed(
    sample: Sample, parts: list[Tensor], shapes: list[tuple[int, int]], grad: Tensor
) -> list[Tensor]:
    """The output and the gradients of maps, locations and weights."""
    value, locations, weights = (part.detach().requires_grad_() for part in parts)
    out = sample(value, shapes, locations, weights)
    return [out.detach(), *torch.autograd.grad(out, (value, locations, weights), grad)]


def times(context: Context, dtype: torch.dtype, queries: int, what: str) -> Iterator[Row]:
    """Yield milliseconds forward, and forward and backward, of kernels and plain PyTorch."""
    context.require_cuda()
    context.require(dtype)
    from vkd.models.vidt.deformable_attention import sample_levels

    value, shapes, locations, weights = inputs(context, queries)
    parts = [part.to(dtype) for part in (value, locations, weights)]
    grad = torch.ones(IMAGES, queries, value.shape[2] * value.shape[3]).to(context.device, dtype)
    ways: dict[str, Sample] = {"plain PyTorch": sample_levels, "kernels": kernel(context)}
    passes: dict[str, Callable[[Sample], Any]] = {
        "forward": lambda sample: sample(parts[0], shapes, parts[1], parts[2]),
        "forward and backward": lambda sample: _passed(sample, parts, shapes, grad),
    }
    for direction, run in passes.items():
        found = context.seconds({way: partial(run, sample) for way, sample in ways.items()})
        plain = Baseline("plain PyTorch", 1e3 * found["plain PyTorch"])
        yield measured(f"{what}, {direction}, plain PyTorch", plain.value, "ms")
        yield measured(f"{what}, {direction}, kernels", 1e3 * found["kernels"], "ms", plain)
