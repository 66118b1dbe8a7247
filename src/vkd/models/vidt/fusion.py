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
        self.smoothing = nn.ModuleList(nn.Conv2d(dim, dim, 1) for _ in channels[1:])
        self.refine_map = nn.ModuleList(Bottleneck(dim) for _ in channels[1:])
        self.refine_sum = nn.ModuleList(Bottleneck(dim) for _ in channels)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Map (B, C, H, W) each to (B, dim, H, W) each, in the same order."""
        fused = [lateral(map_) for lateral, map_ in zip(self.lateral, maps, strict=True)]
        last = len(fused) - 1
        fused[last] = self.refine_sum[last](fused[last])
        for level in reversed(range(last)):
            enlarged = F.interpolate(
                fused[level + 1], fused[level].shape[-2:], mode="bilinear", align_corners=True
            )
            total = self.smoothing[level](enlarged) + self.refine_map[level](fused[level])
            fused[level] = self.refine_sum[level](total)
        return fused


class Bottleneck(nn.Module):
    """A residual unit (B, dim, H, W) without norms, whose first ReLU does not touch the sum."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        hidden = dim // 4
        self.conv1 = nn.Conv2d(dim, hidden, 1)
        self.conv2 = nn.Conv2d(hidden, hidden, 3, padding=1)
        self.conv3 = nn.Conv2d(hidden, dim, 1)

    def forward(self, map_: Tensor) -> Tensor:
        """Return ``map_`` with the unit's change added."""
        hidden = torch.relu(self.conv2(torch.relu(self.conv1(torch.relu(map_)))))
        return map_ + self.conv3(hidden)
