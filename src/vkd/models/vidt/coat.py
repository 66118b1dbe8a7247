"""ViDT's body on CoaT-lite: serial blocks that also carry detection tokens.

Source: CoaT (Xu et al., ICCV 2021) by timm's parts, reconfigured as in ViDT (Song et al. 2022,
section 4.1) and as its release computes it. Shapes as in ``vkd.models.vidt.body``.
"""

import torch
from timm.layers import Mlp, trunc_normal_
from timm.models.coat import ConvPosEnc, ConvRelPosEnc
from torch import Tensor, nn
from torch.nn import functional as F

from vkd.models.vidt.body import (
    Body,
    BodyOutput,
    Cross,
    embedded,
    initialise_linear,
    patch_embed,
)

HEADS = 8
# Sizes of the windows of relative positions, and how many heads have each.
_WINDOWS = {3: 2, 5: 3, 7: 3}
_MLP_RATIOS = (8, 8, 4, 4)


class FactorisedAttention(nn.Module):
    """Factorised attention of patches and softmax attention of detection tokens, by one set of
    weights."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, patches: Tensor, size: tuple[int, int], positions: ConvRelPosEnc) -> Tensor:
        """Map a class token and patches (B, 1 + L, C) of a map (H, W) to the same shape."""
        query, key, value = self._heads(patches)
        context = key.softmax(2).transpose(-1, -2) @ value
        attended = query.shape[-1] ** -0.5 * (query @ context) + positions(query, value, size)
        return self.proj(attended.transpose(1, 2).flatten(2))

    def attend_detections(
        self, det_tokens: Tensor, patches: Tensor | None = None, bias: Tensor | None = None
    ) -> Tensor:
        """Return (B, D, C); arguments as in ``ReconfiguredAttention``."""
        tokens = det_tokens if patches is None else torch.cat([det_tokens, patches], 1)
        query, key, value = self._heads(tokens)
        query = query[:, :, : det_tokens.shape[1]]
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.proj(attended.transpose(1, 2).flatten(2))

    def _heads(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (B, heads, L, C / heads)."""
        batch, length, _ = tokens.shape
        query, key, value = (
            self.qkv(tokens).view(batch, length, 3, HEADS, -1).permute(2, 0, 3, 1, 4).unbind(0)
        )
        return query, key, value


class CoatBlock(nn.Module):
    """A block for a class token with patches (B, 1 + L, C) and detection tokens (B, D, C)."""

    def __init__(self, dim: int, mlp_ratio: int, position_dim: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = FactorisedAttention(dim)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, mlp_ratio * dim)
        self.det_pos_linear = nn.Linear(position_dim, dim)

    def forward(
        self,
        patches: Tensor,
        det_tokens: Tensor,
        det_positions: Tensor,
        stage: "CoatStage",
        size: tuple[int, int],
        cross: Cross | None,
    ) -> tuple[Tensor, Tensor]:
        """Return both kinds of tokens.

        Args:
            patches, det_tokens, det_positions: the tokens, and positions of the latter.
            stage: has the position encodings that its blocks share.
            size: (H, W) of the map.
            cross: as in ``vkd.models.vidt.body.Block``.
        """
        normed, normed_det = self.norm1(patches), self.norm1(det_tokens)
        normed_det = normed_det + self.det_pos_linear(det_positions)
        if cross is None:
            attended_det = self.attn.attend_detections(normed_det)
        else:
            # Keys and values of patches do not hold the convolutional positions.
            placed = normed[:, 1:] + cross[0].flatten(1, 2)
            attended_det = self.attn.attend_detections(normed_det, placed, cross[1])
        patches = patches + self.attn(stage.cpe(normed, size), size, stage.crpe)
        det_tokens = det_tokens + attended_det
        patches = patches + self.mlp(self.norm2(patches))
        det_tokens = det_tokens + self.mlp(self.norm2(det_tokens))
        return patches, det_tokens


class CoatStage(nn.Module):
    """Embeds patches of the map before, and runs blocks of one resolution."""

    def __init__(
        self, in_dim: int, dim: int, depth: int, mlp_ratio: int, position_dim: int, is_first: bool
    ) -> None:
        super().__init__()
        self.patch_embed = patch_embed(in_dim, dim, 4 if is_first else 2)
        self.expand = None
        if not is_first:
            self.expand = nn.Sequential(nn.Linear(in_dim, dim, bias=False), nn.LayerNorm(dim))
        self.class_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.cpe = ConvPosEnc(dim)
        self.crpe = ConvRelPosEnc(dim // HEADS, HEADS, _WINDOWS)
        self.blocks = nn.ModuleList(CoatBlock(dim, mlp_ratio, position_dim) for _ in range(depth))

    def forward(
        self,
        patches: Tensor,
        det_tokens: Tensor,
        det_positions: Tensor,
        cross: Cross | None,
    ) -> tuple[Tensor, Tensor]:
        """Return patches (B, H, W, C) and detection tokens (B, D, C) after the blocks."""
        batch, height, width, _ = patches.shape
        token = self.class_token.expand(batch, -1, -1)
        tokens = torch.cat([token, patches.flatten(1, 2)], 1)
        for block in self.blocks:
            tokens, det_tokens = block(
                tokens, det_tokens, det_positions, self, (height, width), cross
            )
        return tokens[:, 1:].view_as(patches), det_tokens


class CoatBody(Body):
    """CoaT-lite with detection tokens.

    Args:
        dims: widths of the four stages.
        depths: blocks of each.
        num_det_tokens: detection tokens, the most objects that are found in an image.
        position_dim: width of their position embedding.
        cross_stages: stages in which detection tokens attend to patches.
        last_dim: channels of a fourth map, embedded after the last stage; 0 for none.
    """

    def __init__(
        self,
        dims: tuple[int, ...],
        depths: tuple[int, ...],
        num_det_tokens: int = 100,
        position_dim: int = 256,
        cross_stages: tuple[int, ...] = (3,),
        last_dim: int = 256,
    ) -> None:
        super().__init__()
        self.cross_stages = cross_stages
        self.det_token = nn.Parameter(torch.zeros(1, num_det_tokens, dims[0]))
        self.det_pos_embed = nn.Parameter(torch.zeros(1, num_det_tokens, position_dim))
        befores = (3, *dims)
        self.stages = nn.ModuleList(
            CoatStage(befores[i], dims[i], depths[i], _MLP_RATIOS[i], position_dim, i == 0)
            for i in range(len(dims))
        )
        self.last_embed = patch_embed(dims[-1], last_dim, 2) if last_dim else None
        self.added = ("det_", "last_embed.", *(f"stages.{i}.expand." for i in range(1, len(dims))))
        self.num_channels = [*dims[1:], *([last_dim] if last_dim else [])]
        self.apply(_initialise)
        for table in (self.det_token, self.det_pos_embed):
            trunc_normal_(table, std=0.02)

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that are no matrices though they have several axes."""
        tokens = {f"stages.{index}.class_token" for index in range(len(self.stages))}
        return {"det_token", "det_pos_embed"} | tokens

    def forward(self, images: Tensor, mask: Tensor) -> BodyOutput:
        """Run images (B, 3, H, W) with a mask (B, H, W) that is True on padding."""
        det_tokens, positions = self.tokens_of(images.shape[0])
        map_, maps = images, []
        for index, stage in enumerate(self.stages):
            assert isinstance(stage, CoatStage)
            patches = embedded(map_, stage.patch_embed)
            if stage.expand is None:
                mask = self.first_mask(mask, patches, len(self.stages))
            else:
                det_tokens = stage.expand(det_tokens)
            mask, cross = self.cross_at(index, patches, mask)
            patches, det_tokens = stage(patches, det_tokens, positions, cross)
            map_ = patches.permute(0, 3, 1, 2)
            maps.append(map_)
        if self.last_embed is not None:
            maps.append(embedded(map_, self.last_embed).permute(0, 3, 1, 2))
        return BodyOutput(maps[1:], det_tokens, positions)


def _initialise(module: nn.Module) -> None:
    initialise_linear(module)
    if isinstance(module, CoatStage):
        trunc_normal_(module.class_token, std=0.02)
