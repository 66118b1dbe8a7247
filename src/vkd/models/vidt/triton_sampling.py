"""The sampling of deformable attention as Triton kernels, for GPUs; same numbers as the plain one.

One program serves one head of one query: a tile of samples by channels, summed over samples.
Shapes: B batch, S places of all maps, M heads, C channels, Q queries, L maps, P points.
"""

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl

    AVAILABLE = True
except ImportError:
    AVAILABLE = False

if AVAILABLE:

    @triton.jit
    def _corners(locations, sizes, program, L: tl.constexpr, P: tl.constexpr, K: tl.constexpr):
        """The upper left corner of each sample, where in its cell it lies, and its map."""
        k = tl.arange(0, K)
        real = k < L * P
        level = tl.where(real, k // P, 0)
        height = tl.load(sizes + 3 * level)
        width = tl.load(sizes + 3 * level + 1)
        start = tl.load(sizes + 3 * level + 2)
        place = locations + 2 * (program * L * P + k)
        x = tl.load(place, mask=real, other=0.0).to(tl.float32) * width - 0.5
        y = tl.load(place + 1, mask=real, other=0.0).to(tl.float32) * height - 0.5
        left, top = tl.floor(x), tl.floor(y)
        return real, height, width, start, left.to(tl.int32), top.to(tl.int32), x - left, y - top

    @triton.jit
    def _forward_kernel(
        value, sizes, locations, weights, out, S, Q, M: tl.constexpr, C: tl.constexpr,
        L: tl.constexpr, P: tl.constexpr, K: tl.constexpr, CHANNELS: tl.constexpr,
    ):  # fmt: skip
        program = tl.program_id(0).to(tl.int64)
        head, batch = program % M, program // (M * Q)
        real, height, width, start, left, top, fx, fy = _corners(locations, sizes, program, L, P, K)
        k, c = tl.arange(0, K), tl.arange(0, CHANNELS)
        weight = tl.load(weights + program * L * P + k, mask=real, other=0.0).to(tl.float32)
        total = tl.zeros((K, CHANNELS), dtype=tl.float32)
        for corner in tl.static_range(4):
            dx, dy = corner % 2, corner // 2
            column, row = left + dx, top + dy
            inside = real & (column >= 0) & (column < width) & (row >= 0) & (row < height)
            share = (fx if dx else 1 - fx) * (fy if dy else 1 - fy)
            place = ((batch * S + start + row * width + column) * M + head) * C
            mask = inside[:, None] & (c < C)[None, :]
            sample = tl.load(value + place[:, None] + c[None, :], mask=mask, other=0.0)
            total += sample.to(tl.float32) * (share * weight)[:, None]
        summed = tl.sum(total, 0)
        tl.store(out + program * C + c, summed.to(out.dtype.element_ty), mask=c < C)

    @triton.jit
    def _backward_kernel(
        grad, value, sizes, locations, weights, grad_value, grad_locations, grad_weights, S, Q,
        M: tl.constexpr, C: tl.constexpr, L: tl.constexpr, P: tl.constexpr, K: tl.constexpr,
        CHANNELS: tl.constexpr,
    ):  # fmt: skip
        program = tl.program_id(0).to(tl.int64)
        head, batch = program % M, program // (M * Q)
        real, height, width, start, left, top, fx, fy = _corners(locations, sizes, program, L, P, K)
        k, c = tl.arange(0, K), tl.arange(0, CHANNELS)
        weight = tl.load(weights + program * L * P + k, mask=real, other=0.0).to(tl.float32)
        pulled = tl.load(grad + program * C + c, mask=c < C, other=0.0).to(tl.float32)
        by_weight = tl.zeros((K,), dtype=tl.float32)
        by_x = tl.zeros((K,), dtype=tl.float32)
        by_y = tl.zeros((K,), dtype=tl.float32)
        for corner in tl.static_range(4):
            dx, dy = corner % 2, corner // 2
            column, row = left + dx, top + dy
            inside = real & (column >= 0) & (column < width) & (row >= 0) & (row < height)
            share_x, share_y = (fx if dx else 1 - fx), (fy if dy else 1 - fy)
            place = ((batch * S + start + row * width + column) * M + head) * C
            mask = inside[:, None] & (c < C)[None, :]
            sample = tl.load(value + place[:, None] + c[None, :], mask=mask, other=0.0)
            product = tl.sum(sample.to(tl.float32) * pulled[None, :], 1)
            by_weight += share_x * share_y * product
            by_x += (1 if dx else -1) * share_y * product
            by_y += (1 if dy else -1) * share_x * product
            change = pulled[None, :] * (share_x * share_y * weight)[:, None]
            tl.atomic_add(grad_value + place[:, None] + c[None, :], change, mask=mask)
        place = program * L * P + k
        tl.store(grad_weights + place, by_weight, mask=real)
        tl.store(grad_locations + 2 * place, by_x * weight * width, mask=real)
        tl.store(grad_locations + 2 * place + 1, by_y * weight * height, mask=real)


def sample_levels_by_kernel(
    value: Tensor, shapes: list[tuple[int, int]], locations: Tensor, weights: Tensor
) -> Tensor:
    """As ``vkd.models.vidt.deformable_attention.sample_levels``, by Triton kernels."""
    flat = [side for shape in shapes for side in shape]
    return _sample(value.contiguous(), flat, locations.contiguous(), weights.contiguous())


@torch.library.custom_op("vkd::sample_levels", mutates_args=())
def _sample(value: Tensor, shapes: list[int], locations: Tensor, weights: Tensor) -> Tensor:
    batch, places, heads, channels = value.shape
    queries = locations.shape[1]
    out = value.new_empty(batch, queries, heads * channels)
    constants = _constants(value, locations)
    sizes = _sizes(shapes, value.device)
    _forward_kernel[(batch * queries * heads,)](
        value, sizes, locations, weights, out, places, queries, **constants
    )
    return out


@torch.library.custom_op("vkd::sample_levels_backward", mutates_args=())
def _sample_backward(
    grad: Tensor, value: Tensor, shapes: list[int], locations: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    batch, places, heads, _ = value.shape
    queries = locations.shape[1]
    # Many samples add to one place, which bf16 could not hold the sum of.
    gradients = [
        torch.zeros_like(part, dtype=torch.float32) for part in (value, locations, weights)
    ]
    _backward_kernel[(batch * queries * heads,)](
        grad, value, _sizes(shapes, value.device), locations, weights, *gradients, places, queries,
        **_constants(value, locations),
    )  # fmt: skip
    by_value, by_location, by_weight = gradients
    return by_value.to(value), by_location.to(locations), by_weight.to(weights)


def _constants(value: Tensor, locations: Tensor) -> dict[str, int]:
    levels, points = locations.shape[3:5]
    heads, channels = value.shape[2:]
    tile = triton.next_power_of_2(levels * points), triton.next_power_of_2(channels)
    return {
        "M": heads, "C": channels, "L": levels, "P": points, "K": tile[0], "CHANNELS": tile[1],
    }  # fmt: skip


def _sizes(shapes: list[int], device: torch.device) -> Tensor:
    """Height, width and first place of each map.

    From pinned memory, since the host would wait for a copy from other memory.
    """
    rows, start = [], 0
    for height, width in zip(shapes[::2], shapes[1::2], strict=True):
        rows.append([height, width, start])
        start += height * width
    sizes = torch.tensor(rows, dtype=torch.int32, pin_memory=device.type == "cuda")
    return sizes.to(device, non_blocking=True)


@_sample.register_fake
def _(value: Tensor, shapes: list[int], locations: Tensor, weights: Tensor) -> Tensor:
    batch, _, heads, channels = value.shape
    return value.new_empty(batch, locations.shape[1], heads * channels)


@_sample_backward.register_fake
def _(
    grad: Tensor, value: Tensor, shapes: list[int], locations: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(value), torch.empty_like(locations), torch.empty_like(weights)


def _save(ctx, inputs, output) -> None:
    value, ctx.shapes, locations, weights = inputs
    ctx.save_for_backward(value, locations, weights)


def _gradient(ctx, grad: Tensor):
    value, locations, weights = ctx.saved_tensors
    found = _sample_backward(grad.contiguous(), value, ctx.shapes, locations, weights)
    return found[0], None, found[1], found[2]


_sample.register_autograd(_gradient, setup_context=_save)
