"""Fusing maps of several scales from coarse to fine (ViDT+, Song et al. 2022, section 3.1)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PyramidFusion(nn.Module):
    """Adds each coarser map, enlarged, to the next finer, and refines the sum.

    Args:
        channels: of the maps, from fine to coarse.
        dim: channels of all maps that come out.
    """

    def __init__(self, channels: list[int], dim: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, dim, 1), nn.GroupNorm(32, dim)) for width in channels
        )
        self.refine = nn.ModuleList(_bottleneck(dim) for _ in channels[1:])

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Map (B, C, H, W) each to (B, dim, H, W) each."""
        fused = [lateral(map_) for lateral, map_ in zip(self.lateral, maps, strict=True)]
        for level in reversed(range(len(fused) - 1)):
            enlarged = F.interpolate(fused[level + 1], fused[level].shape[-2:], mode="nearest")
            total = fused[level] + enlarged
            fused[level] = torch.relu(total + self.refine[level](total))
        return fused


def _bottleneck(dim: int) -> nn.Sequential:
    hidden = dim // 4
    return nn.Sequential(
        nn.Conv2d(dim, hidden, 1, bias=False),
        nn.GroupNorm(min(32, hidden), hidden),
        nn.ReLU(inplace=True),
        nn.Conv2d(hidden, hidden, 3, padding=1, bias=False),
        nn.GroupNorm(min(32, hidden), hidden),
        nn.ReLU(inplace=True),
        nn.Conv2d(hidden, dim, 1, bias=False),
        nn.GroupNorm(32, dim),
    )
