"""Multi-scale deformable attention (Deformable DETR, Zhu et al. 2021, equation 3)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def sample_levels(
    value: Tensor, shapes: list[tuple[int, int]], locations: Tensor, weights: Tensor
) -> Tensor:
    """Sum bilinear samples of several maps, in plain PyTorch.

    Args:
        value: the maps, flattened and joined, (B, sum of H * W, heads, C).
        shapes: (H, W) of each of the L maps.
        locations: where to sample, (B, Q, heads, L, points, 2), x then y in 0..1; outside is 0.
        weights: of the samples, (B, Q, heads, L, points).

    Returns:
        (B, Q, heads * C).
    """
    batch, _, heads, channels = value.shape
    queries, points = locations.shape[1], locations.shape[4]
    grids = (2 * locations - 1).transpose(1, 2).flatten(0, 1)
    samples = []
    for level, part in enumerate(value.split([height * width for height, width in shapes], 1)):
        image = part.permute(0, 2, 3, 1).reshape(batch * heads, channels, *shapes[level])
        samples.append(F.grid_sample(image, grids[:, :, level], align_corners=False))
    weights = weights.transpose(1, 2).reshape(batch * heads, 1, queries, len(shapes) * points)
    summed = (torch.cat(samples, -1) * weights).sum(-1)
    return summed.view(batch, heads * channels, queries).transpose(1, 2)


class DeformableAttention(nn.Module):
    """Each query samples every map at a few places near its reference.

    Args:
        dim: width of queries and maps.
        num_heads: attention heads.
        num_levels: maps.
        num_points: samples of each head in each map.
    """

    def __init__(
        self, dim: int, num_heads: int = 8, num_levels: int = 4, num_points: int = 4
    ) -> None:
        super().__init__()
        self.num_heads, self.num_levels, self.num_points = num_heads, num_levels, num_points
        self.sampling_offsets = nn.Linear(dim, num_heads * num_levels * num_points * 2)
        self.attention_weights = nn.Linear(dim, num_heads * num_levels * num_points)
        self.value_proj = nn.Linear(dim, dim)
        self.output_proj = nn.Linear(dim, dim)
        self._initialise()

    def _initialise(self) -> None:
        # Heads look in directions around the reference, points ever farther away.
        angles = torch.arange(self.num_heads) * (2 * math.pi / self.num_heads)
        directions = torch.stack([angles.cos(), angles.sin()], -1)
        directions = directions / directions.abs().max(-1, keepdim=True).values
        steps = torch.arange(1, self.num_points + 1)
        offsets = directions[:, None, None] * steps[None, None, :, None]
        offsets = offsets.expand(-1, self.num_levels, -1, -1)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(offsets.flatten())
        nn.init.zeros_(self.sampling_offsets.weight)
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for linear in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(
        self,
        query: Tensor,
        references: Tensor,
        maps: Tensor,
        shapes: list[tuple[int, int]],
        mask: Tensor,
    ) -> Tensor:
        """Return (B, Q, dim).

        Args:
            query: (B, Q, dim).
            references: points (B, Q, L, 2) or boxes (B, Q, L, 4; centre and size) in 0..1.
            maps: flattened and joined, (B, sum of H * W, dim).
            shapes: (H, W) of each map.
            mask: True on padding, (B, sum of H * W).
        """
        batch, queries, _ = query.shape
        heads, levels, points = self.num_heads, self.num_levels, self.num_points
        value = self.value_proj(maps).masked_fill(mask[..., None], 0.0)
        offsets = self.sampling_offsets(query).view(batch, queries, heads, levels, points, 2)
        weights = self.attention_weights(query).view(batch, queries, heads, levels * points)
        weights = weights.softmax(-1).view(batch, queries, heads, levels, points)
        centres = references[:, :, None, :, None, :2]
        if references.shape[-1] == 4:
            reach = references[:, :, None, :, None, 2:] * 0.5 / points
        else:
            reach = _patch_sizes(shapes, offsets)[:, None]
        sampled = sample(
            value.view(batch, -1, heads, value.shape[-1] // heads),
            shapes,
            (centres + offsets * reach).to(value.dtype),
            weights.to(value.dtype),
        )
        return self.output_proj(sampled)


def _patch_sizes(shapes: list[tuple[int, int]], like: Tensor) -> Tensor:
    """Width and height (L, 2) of a patch of each map, filled in where ``like`` is: copied there,
    they would make the host wait."""
    sides = [like.new_full((), 1 / side) for height, width in shapes for side in (width, height)]
    return torch.stack(sides).view(-1, 2)


def sample(
    value: Tensor, shapes: list[tuple[int, int]], locations: Tensor, weights: Tensor
) -> Tensor:
    """``sample_levels``, by a Triton kernel on CUDA where Triton is installed.

    Its gradient adds up in any order, so that it is not for deterministic training.
    """
    is_free = not torch.are_deterministic_algorithms_enabled()
    if value.is_cuda and is_free and not torch.onnx.is_in_onnx_export():
        from vkd.models.vidt.triton_sampling import AVAILABLE, sample_levels_by_kernel

        if AVAILABLE:
            return sample_levels_by_kernel(value, shapes, locations, weights)
    return sample_levels(value, shapes, locations, weights)
