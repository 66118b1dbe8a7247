"""ViDT's neck: a decoder over detection tokens, and the heads that refine boxes with it."""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vkd.models.vidt.deformable_attention import DeformableAttention


class DecoderLayer(nn.Module):
    """Self-attention over detection tokens, deformable attention to the maps, feed-forward."""

    def __init__(
        self,
        dim: int,
        feed_forward: int,
        dropout: float,
        num_heads: int,
        num_levels: int,
        num_points: int,
    ) -> None:
        super().__init__()
        self.cross_attn = DeformableAttention(dim, num_heads, num_levels, num_points)
        self.norm1 = nn.LayerNorm(dim)
        self.self_attn = nn.MultiheadAttention(dim, num_heads, dropout, batch_first=True)
        self.norm2 = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, feed_forward)
        self.linear2 = nn.Linear(feed_forward, dim)
        self.norm3 = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        tokens: Tensor,
        positions: Tensor,
        references: Tensor,
        maps: Tensor,
        shapes: list[tuple[int, int]],
        mask: Tensor,
    ) -> Tensor:
        """Return tokens (B, D, dim); arguments as in ``DeformableAttention``."""
        placed = tokens + positions
        attended = self.self_attn(placed, placed, tokens, need_weights=False)[0]
        tokens = self.norm2(tokens + self.dropout(attended))
        attended = self.cross_attn(tokens + positions, references, maps, shapes, mask)
        tokens = self.norm1(tokens + self.dropout(attended))
        hidden = self.dropout(F.relu(self.linear1(tokens)))
        return self.norm3(tokens + self.dropout(self.linear2(hidden)))


class MultiLayerPerceptron(nn.Module):
    """Three linear layers with ReLU between; ``zero`` makes the last start from 0."""

    def __init__(self, dim: int, out_dim: int, zero: bool = False) -> None:
        super().__init__()
        widths = (dim, dim, dim, out_dim)
        self.layers = nn.ModuleList(nn.Linear(into, out) for into, out in pairwise(widths))

    def forward(self, features: Tensor) -> Tensor:
        """Map (..., dim) to (..., out_dim)."""
        for layer in self.layers[:-1]:
            features = F.relu(layer(features))
        return self.layers[-1](features)


class Decoder(nn.Module):
    """The decoder's layers; a part of ``Neck`` for the names of published weights."""

    def __init__(self, num_layers: int, *layer: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(*layer) for _ in range(num_layers))  # type: ignore[arg-type]


class Neck(nn.Module):
    """Decodes boxes and classes from detection tokens and maps.

    Args:
        dim: width.
        num_layers: decoder layers.
        feed_forward: hidden width of their feed-forward part.
        dropout: in training.
        num_heads, num_levels, num_points: of the deformable attention.
        box_refinement: each layer starts from the boxes of the layer before.
    """

    def __init__(
        self,
        dim: int = 256,
        num_layers: int = 6,
        feed_forward: int = 1024,
        dropout: float = 0.1,
        num_heads: int = 8,
        num_levels: int = 4,
        num_points: int = 4,
        box_refinement: bool = True,
    ) -> None:
        super().__init__()
        self.box_refinement = box_refinement
        self.decoder = Decoder(
            num_layers, dim, feed_forward, dropout, num_heads, num_levels, num_points
        )
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1 and "cross_attn" not in name:
                nn.init.xavier_uniform_(parameter)
        self.reference_points = nn.Linear(dim, 2)
        nn.init.xavier_uniform_(self.reference_points.weight)
        nn.init.zeros_(self.reference_points.bias)

    def forward(
        self,
        tokens: Tensor,
        positions: Tensor,
        maps: list[Tensor],
        masks: list[Tensor],
        box_heads: nn.ModuleList,
    ) -> tuple[Tensor, Tensor]:
        """Return the states (layers + 1, B, D, dim) and their boxes (layers + 1, B, D, 4).

        Args:
            tokens, positions: of the detection tokens, (B, D, dim).
            maps: (B, dim, H, W) each.
            masks: True on padding, (B, H, W) each.
            box_heads: one for the incoming tokens and one for each layer.
        """
        shapes = [(map_.shape[2], map_.shape[3]) for map_ in maps]
        flat = torch.cat([map_.flatten(2).transpose(1, 2) for map_ in maps], 1)
        mask = torch.cat([mask.flatten(1) for mask in masks], 1)
        ratios = torch.stack([valid_ratio(mask) for mask in masks], 1)[:, None]
        first = self.reference_points(positions).float().sigmoid()
        states, boxes = [tokens], [_refined(box_heads[0](tokens), first)]
        for layer, head in zip(self.decoder.layers, list(box_heads)[1:], strict=True):
            reference = boxes[-1].detach() if self.box_refinement else first
            scale = ratios.repeat(1, 1, 1, 2) if self.box_refinement else ratios
            scaled = reference[:, :, None] * scale
            tokens = layer(tokens, positions, scaled, flat, shapes, mask)
            states.append(tokens)
            boxes.append(_refined(head(tokens), reference))
        return torch.stack(states), torch.stack(boxes)


def _refined(change: Tensor, reference: Tensor) -> Tensor:
    """Boxes (B, D, 4) of a head's ``change`` to a reference point or box, in 0..1."""
    start = inverse_sigmoid(reference)
    return (change.float() + F.pad(start, (0, 4 - start.shape[-1]))).sigmoid()


def inverse_sigmoid(probability: Tensor, eps: float = 1e-5) -> Tensor:
    """Return the logit of values in 0..1, clamped to finite numbers."""
    # One clamp a side: onnxscript loses the middle of a chain that several layers share.
    return torch.log(probability.clamp(eps, 1.0) / (1 - probability).clamp(eps, 1.0))


def valid_ratio(mask: Tensor) -> Tensor:
    """Return (B, 2), the share of the width and height that is not padding."""
    valid = (~mask).float()
    return torch.stack([valid[:, 0].mean(1), valid[:, :, 0].mean(1)], -1)


def class_bias(prior: float = 0.01) -> float:
    """Return the bias at which a sigmoid gives ``prior``."""
    return -math.log((1 - prior) / prior)
