"""ViDT's body: Swin whose stages also carry detection tokens (Reconfigured Attention Module).

Source: ViDT (Song et al. 2022), section 4.1, as its published checkpoints compute it. Shapes: B
batch, H x W patches of a stage, C its width, D detection tokens.
"""

import math
from typing import NamedTuple

import torch
from timm.layers import DropPath, Mlp, PatchEmbed, trunc_normal_
from timm.models.swin_transformer import WindowAttention, window_partition, window_reverse
from torch import Tensor, nn
from torch.nn import functional as F

WINDOW = 7
MASKED = -100.0
# Where detection tokens attend to patches: the positions of patches (B, H, W, C), and the bias
# of the attention, which broadcasts to (B, heads, D, D + L).
Cross = tuple[Tensor, Tensor]


class BodyOutput(NamedTuple):
    """``maps`` (B, C, H, W) of strides 8, 16, 32 (and 64), ``det_tokens`` (B, D, 8C) and their
    ``positions`` (B, D, P)."""

    maps: list[Tensor]
    det_tokens: Tensor
    positions: Tensor


class Body(nn.Module):
    """What a detector asks of its body.

    Attributes:
        num_channels: of the maps from fine to coarse; the third is the width of detection tokens.
        cross_stages: stages in which detection tokens attend to patches.
        det_token, det_pos_embed: (1, D, C) and (1, D, P), the tokens and their positions.
        added: the beginnings of names of weights that a backbone for classification lacks.
    """

    num_channels: list[int]
    cross_stages: tuple[int, ...]
    det_token: nn.Parameter
    det_pos_embed: nn.Parameter
    added: tuple[str, ...]

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that are no matrices though they have several axes."""
        raise NotImplementedError

    def forward(self, images: Tensor, mask: Tensor) -> BodyOutput:
        """Run images (B, 3, H, W) with a mask (B, H, W) that is True on padding."""
        raise NotImplementedError

    def tokens_of(self, batch: int) -> tuple[Tensor, Tensor]:
        """Return detection tokens (B, D, C) and their positions (B, D, P) of so many images."""
        return self.det_token.expand(batch, -1, -1), self.det_pos_embed.expand(batch, -1, -1)

    def first_mask(self, mask: Tensor, patches: Tensor, stages: int) -> Tensor:
        """Return the mask that stages start with, for patches (B, H, W, C) of the first."""
        divisor = 2 ** (stages - len(self.cross_stages))
        return resize_mask(mask, [max(1, side // divisor) for side in patches.shape[1:3]])

    def cross_at(self, stage: int, patches: Tensor, mask: Tensor) -> tuple[Tensor, Cross | None]:
        """Return the mask that later stages go on with, and what detection tokens need to attend
        to patches (B, H, W, C) of a stage; None where they do not."""
        if stage not in self.cross_stages:
            return mask, None
        mask = resize_mask(mask, patches.shape[1:3])
        return mask, cross_attention_inputs(patches, mask, self.det_token.shape[1])


class ReconfiguredAttention(WindowAttention):
    """Window attention for patches, and global attention for detection tokens, by the same weights.

    Detection tokens attend to each other, and to all ``patches`` where these are given.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__(dim, num_heads, window_size=WINDOW)
        self.fused_attn = True  # type: ignore[misc]

    def attend_detections(
        self, det_tokens: Tensor, patches: Tensor | None = None, bias: Tensor | None = None
    ) -> Tensor:
        """Return (B, D, C) from normed det tokens, normed patches (B, L, C) and a bias on logits
        that broadcasts to (B, heads, D, D + L)."""
        batch, count, width = det_tokens.shape
        tokens = det_tokens if patches is None else torch.cat([det_tokens, patches], 1)
        weight, shift = self.qkv.weight, self.qkv.bias
        query = F.linear(det_tokens, weight[:width], shift[:width])
        key_value = F.linear(tokens, weight[width:], shift[width:])
        query = query.view(batch, count, self.num_heads, -1).transpose(1, 2)
        key, value = key_value.view(batch, -1, 2, self.num_heads, width // self.num_heads).permute(
            2, 0, 3, 1, 4
        )
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.proj(attended.transpose(1, 2).reshape(batch, count, width))


class Block(nn.Module):
    """One (shifted) window block for patches (B, H, W, C) and detection tokens (B, D, C)."""

    def __init__(
        self, dim: int, num_heads: int, shift: int, drop_path: float, position_dim: int
    ) -> None:
        super().__init__()
        self.shift = shift
        self.norm1 = nn.LayerNorm(dim)
        self.attn = ReconfiguredAttention(dim, num_heads)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, 4 * dim)
        self.det_pos_linear = nn.Linear(position_dim, dim)

    def forward(
        self,
        patches: Tensor,
        det_tokens: Tensor,
        det_positions: Tensor,
        window_mask: Tensor | None,
        cross: Cross | None,
    ) -> tuple[Tensor, Tensor]:
        """Return both kinds of tokens; ``cross`` where detection tokens attend to patches."""
        normed, normed_det = self.norm1(patches), self.norm1(det_tokens)
        normed_det = normed_det + self.det_pos_linear(det_positions)
        if cross is None:
            attended_det = self.attn.attend_detections(normed_det)
        else:
            positions, bias = cross
            attended_det = self.attn.attend_detections(
                normed_det, (normed + positions).flatten(1, 2), bias
            )
        patches = patches + self.drop_path(self._attend_windows(normed, window_mask))
        det_tokens = det_tokens + self.drop_path(attended_det)
        patches = patches + self.drop_path(self.mlp(self.norm2(patches)))
        det_tokens = det_tokens + self.drop_path(self.mlp(self.norm2(det_tokens)))
        return patches, det_tokens

    def _attend_windows(self, patches: Tensor, mask: Tensor | None) -> Tensor:
        _, height, width, dim = patches.shape
        # Unlike timm's block, padding comes before the shift, as in Swin for detection.
        padded = F.pad(patches, (0, 0, 0, -width % WINDOW, 0, -height % WINDOW))
        if self.shift:
            padded = padded.roll((-self.shift, -self.shift), (1, 2))
        windows = window_partition(padded, (WINDOW, WINDOW)).flatten(1, 2)
        windows = self.attn(windows, mask=mask if self.shift else None)
        windows = windows.view(-1, WINDOW, WINDOW, dim)
        padded = window_reverse(windows, (WINDOW, WINDOW), *padded.shape[1:3])
        if self.shift:
            padded = padded.roll((self.shift, self.shift), (1, 2))
        return padded[:, :height, :width]


class PatchMerging(nn.Module):
    """Joins 2 x 2 patches, and detection tokens with themselves, and maps 4C to ``out_dim``."""

    def __init__(self, dim: int, out_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, out_dim, bias=False)

    def forward(self, patches: Tensor, det_tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, H, W, C) to (B, ceil(H / 2), ceil(W / 2), out_dim), and (B, D, C) likewise."""
        _, height, width, _ = patches.shape
        padded = F.pad(patches, (0, 0, 0, width % 2, 0, height % 2))
        corners = [padded[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        merged = self.reduction(self.norm(torch.cat(corners, -1)))
        return merged, self.reduction(self.norm(det_tokens.repeat(1, 1, 4)))


class Stage(nn.Module):
    """Blocks of one resolution, then the merging into the next."""

    def __init__(
        self, dim: int, num_heads: int, drop_paths: list[float], position_dim: int, out_dim: int
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(dim, num_heads, index % 2 * (WINDOW // 2), rate, position_dim)
            for index, rate in enumerate(drop_paths)
        )
        self.downsample = PatchMerging(dim, out_dim) if out_dim else None

    def forward(
        self,
        patches: Tensor,
        det_tokens: Tensor,
        det_positions: Tensor,
        cross: Cross | None,
    ) -> tuple[Tensor, Tensor]:
        """Return patches and detection tokens before merging; arguments as in ``Block``."""
        window_mask = _shifted_window_mask(patches)
        for block in self.blocks:
            patches, det_tokens = block(patches, det_tokens, det_positions, window_mask, cross)
        return patches, det_tokens


class SwinBody(Body):
    """Swin with detection tokens.

    Args:
        embed_dim: width of the first stage; it doubles from stage to stage.
        depths: blocks of each of the four stages.
        num_heads: attention heads of each stage.
        drop_path_rate: stochastic depth of the last block; it grows linearly from 0.
        num_det_tokens: detection tokens, the most objects that are found in an image.
        position_dim: width of their position embedding.
        cross_stages: stages in which detection tokens attend to patches.
        last_dim: channels of a fourth map, merged after the last stage; 0 for none.
    """

    def __init__(
        self,
        embed_dim: int,
        depths: tuple[int, ...],
        num_heads: tuple[int, ...],
        drop_path_rate: float = 0.0,
        num_det_tokens: int = 100,
        position_dim: int = 256,
        cross_stages: tuple[int, ...] = (3,),
        last_dim: int = 256,
    ) -> None:
        super().__init__()
        self.cross_stages = cross_stages
        self.patch_embed = patch_embed(3, embed_dim, 4)
        self.det_token = nn.Parameter(torch.zeros(1, num_det_tokens, embed_dim))
        self.det_pos_embed = nn.Parameter(torch.zeros(1, num_det_tokens, position_dim))
        widths = [embed_dim * 2**stage for stage in range(len(depths))]
        rates = torch.linspace(0, drop_path_rate, sum(depths)).split(list(depths))
        self.layers = nn.ModuleList(
            Stage(dim, heads, rate.tolist(), position_dim, out_dim)
            for dim, heads, rate, out_dim in zip(
                widths, num_heads, rates, [*widths[1:], last_dim], strict=True
            )
        )
        # The last merging makes maps of another width than Swin's.
        self.added = ("det_", f"layers.{len(depths) - 1}.downsample.")
        self.num_channels = [*widths[1:], *([last_dim] if last_dim else [])]
        self.apply(initialise_linear)
        trunc_normal_(self.det_token, std=0.02)
        trunc_normal_(self.det_pos_embed, std=0.02)

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that are no matrices though they have several axes."""
        tables = {name for name, _ in self.named_parameters() if "relative_position" in name}
        return {"det_token", "det_pos_embed"} | tables

    def forward(self, images: Tensor, mask: Tensor) -> BodyOutput:
        """Run images (B, 3, H, W) with a mask (B, H, W) that is True on padding."""
        patches = embedded(images, self.patch_embed)
        det_tokens, positions = self.tokens_of(images.shape[0])
        mask = self.first_mask(mask, patches, len(self.layers))
        maps = []
        for index, stage in enumerate(self.layers):
            assert isinstance(stage, Stage)
            mask, cross = self.cross_at(index, patches, mask)
            patches, det_tokens = stage(patches, det_tokens, positions, cross)
            if index > 0:
                maps.append(patches.permute(0, 3, 1, 2))
            last_tokens = det_tokens
            if stage.downsample is not None:
                patches, det_tokens = stage.downsample(patches, det_tokens)
        if stage.downsample is not None:
            maps.append(patches.permute(0, 3, 1, 2))
        return BodyOutput(maps, last_tokens, positions)


def resize_mask(mask: Tensor, size: list[int] | torch.Size) -> Tensor:
    """Resize a padding mask (B, H, W) to (B, *size) by nearest neighbour."""
    if mask.shape[1:] == torch.Size(size):
        return mask
    return F.interpolate(mask[:, None].float(), list(size))[:, 0].bool()


def sine_positions(mask: Tensor, dim: int, temperature: float = 10000.0) -> Tensor:
    """Encode the position of each valid pixel, (B, H, W) to (B, H, W, dim), y then x."""
    valid = (~mask).float()
    features = torch.arange(dim // 2, device=mask.device, dtype=torch.float32)
    frequencies = temperature ** (2 * (features // 2) / (dim // 2))
    encoded = []
    for axis in (1, 2):
        count = valid.cumsum(axis)
        last = count.narrow(axis, count.shape[axis] - 1, 1)
        angles = (count / (last + 1e-6) * 2 * math.pi)[..., None] / frequencies
        encoded.append(torch.stack([angles[..., 0::2].sin(), angles[..., 1::2].cos()], -1))
    return torch.cat([part.flatten(3) for part in encoded], -1)


def cross_attention_inputs(patches: Tensor, mask: Tensor, num_det_tokens: int) -> Cross:
    """Return what detection tokens need to attend to patches (B, H, W, C), ``mask`` (B, H, W)
    being True on padding."""
    bias = F.pad(mask.flatten(1).to(patches.dtype) * MASKED, (num_det_tokens, 0))
    return sine_positions(mask, patches.shape[-1]).to(patches.dtype), bias[:, None, None]


def _shifted_window_mask(patches: Tensor) -> Tensor:
    """Logits' bias (windows, 49, 49) that keeps apart what the shift brought together."""
    height, width = (size + -size % WINDOW for size in patches.shape[1:3])
    rows, columns = (_shift_regions(size, patches.device) for size in (height, width))
    regions = (3 * rows[:, None] + columns)[None, ..., None]
    windows = window_partition(regions, (WINDOW, WINDOW)).flatten(1)
    return (windows[:, None] != windows[:, :, None]).to(patches.dtype) * MASKED


def _shift_regions(size: int, device: torch.device) -> Tensor:
    index = torch.arange(size, device=device)
    return (index >= size - WINDOW).long() + (index >= size - WINDOW // 2).long()


def patch_embed(in_dim: int, dim: int, stride: int) -> PatchEmbed:
    """Return a layer that makes patches (B, H / stride, W / stride, dim) of a map."""
    return PatchEmbed(
        None,
        stride,
        in_dim,
        dim,
        norm_layer=nn.LayerNorm,
        output_fmt="NHWC",
        strict_img_size=False,
    )


def embedded(map_: Tensor, embed: PatchEmbed) -> Tensor:
    """Return the patches of a map (B, C, H, W), which is padded with zeros right and below."""
    stride = embed.patch_size[0]
    height, width = map_.shape[-2:]
    return embed(F.pad(map_, (0, -width % stride, 0, -height % stride)))


def initialise_linear(module: nn.Module) -> None:
    """Give a linear layer the weights that it starts training with; leave others alone."""
    if isinstance(module, nn.Linear):
        trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
