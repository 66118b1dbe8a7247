"""Deformable attention against its equation and finite differences."""

import pytest
import torch

from support.commands import run_python
from vkd.models.vidt.deformable_attention import DeformableAttention, sample_levels


def sampled_by_hand(value, shapes, locations, weights):
    """Equation 3 of Deformable DETR, one number at a time."""
    batch, _, heads, channels = value.shape
    queries, levels, points = locations.shape[1], len(shapes), locations.shape[4]
    out = torch.zeros(batch, queries, heads, channels, dtype=value.dtype)
    starts = [sum(h * w for h, w in shapes[:level]) for level in range(levels)]
    for b, q, m, level, p in torch.cartesian_prod(
        *map(torch.arange, (batch, queries, heads, levels, points))
    ).tolist():
        height, width = shapes[level]
        x = locations[b, q, m, level, p, 0].item() * width - 0.5
        y = locations[b, q, m, level, p, 1].item() * height - 0.5
        left, top = int(x // 1), int(y // 1)
        for row, column in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
            if 0 <= row < height and 0 <= column < width:
                share = (1 - abs(x - column)) * (1 - abs(y - row))
                place = starts[level] + row * width + column
                out[b, q, m] += weights[b, q, m, level, p] * share * value[b, place, m]
    return out.flatten(2)


def sampling_inputs(dtype=torch.float64):
    torch.manual_seed(0)
    shapes = [(5, 7), (3, 4)]
    value = torch.randn(2, 47, 2, 4, dtype=dtype, requires_grad=True)
    locations = (torch.rand(2, 3, 2, 2, 4, 2, dtype=dtype) * 1.4 - 0.2).requires_grad_()
    weights = torch.rand(2, 3, 2, 2, 4, dtype=dtype, requires_grad=True)
    return value, shapes, locations, weights


def test_deformable_sampling_equals_its_equation():
    value, shapes, locations, weights = sampling_inputs()
    expected = sampled_by_hand(value, shapes, locations, weights)
    torch.testing.assert_close(sample_levels(value, shapes, locations, weights), expected)


def test_gradients_of_deformable_sampling_equal_finite_differences():
    value, shapes, locations, weights = sampling_inputs()
    assert torch.autograd.gradcheck(
        lambda v, x, w: sample_levels(v, shapes, x, w), (value, locations, weights)
    )


@pytest.mark.slow
def test_deformable_attention_compiles_whole():
    torch.manual_seed(0)
    attention = DeformableAttention(32, 4, 2, 4)
    shapes = [(8, 6), (4, 3)]
    inputs = (
        torch.randn(2, 5, 32), torch.rand(2, 5, 2, 4), torch.randn(2, 60, 32), shapes,
        torch.zeros(2, 60, dtype=torch.bool),
    )  # fmt: skip
    expected = attention(*inputs)
    compiled = torch.compile(attention, fullgraph=True)
    torch.testing.assert_close(compiled(*inputs), expected, atol=1e-5, rtol=1e-5)


TRITON = """
import torch
from vkd.models.vidt.deformable_attention import sample_levels as plain
from vkd.models.vidt.triton_sampling import sample_levels_by_kernel as kernel
torch.manual_seed(0)
for heads, channels, points in ((2, 8, 4), (3, 5, 3)):
    shapes = [(5, 7), (3, 4)]
    inputs = (
        torch.randn(2, 47, heads, channels), torch.rand(2, 3, heads, 2, points, 2) * 1.4 - 0.2,
        torch.rand(2, 3, heads, 2, points),
    )
    found = []
    for run in (plain, kernel):
        value, locations, weights = (part.clone().requires_grad_() for part in inputs)
        out = run(value, shapes, locations, weights)
        out.sin().sum().backward()
        found.append((out.detach(), value.grad, locations.grad, weights.grad))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
"""


@pytest.mark.slow
def test_the_triton_kernels_equal_plain_pytorch_in_values_and_gradients():
    pytest.importorskip("triton")
    done = run_python("-c", TRITON, TRITON_INTERPRET="1")
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_kernels_on_a_gpu_equal_plain_pytorch(dtype):
    from vkd.models.vidt.deformable_attention import sample, sample_levels

    torch.manual_seed(0)
    shapes = [(50, 70), (25, 35), (13, 18), (7, 9)]
    places = sum(height * width for height, width in shapes)
    inputs = (torch.randn(2, places, 8, 32), torch.rand(2, 100, 8, 4, 4, 2) * 1.2 - 0.1,
              torch.rand(2, 100, 8, 4, 4))  # fmt: skip
    found = []
    for run in (sample_levels, sample):
        parts = [part.cuda().to(dtype).requires_grad_() for part in inputs]
        out = run(parts[0], shapes, *parts[1:])
        out.float().sin().sum().backward()
        found.append([out, *(part.grad for part in parts)])
    tolerance = 1e-3 if dtype == torch.float32 else 5e-2
    for ours, theirs in zip(*found, strict=True):
        error = (ours.float() - theirs.float()).norm() / theirs.float().norm()
        assert error < tolerance
