"""The ViDT detector: body, projections to one width, neck and heads."""

from typing import Any, ClassVar, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vkd.models.vidt.body import Body, BodyOutput, resize_mask
from vkd.models.vidt.fusion import PyramidFusion
from vkd.models.vidt.neck import DecoderLayer, MultiLayerPerceptron, Neck, class_bias

Images = Tensor | list[Tensor]


class Tokens(NamedTuple):
    """What detectors of one width have in common: ``patches`` (B, dim, H, W) of each scale, the
    ``body``'s detection tokens (B, D, dim), and the ``neck``'s, (layers + 1, B, D, dim)."""

    patches: list[Tensor]
    body: Tensor
    neck: Tensor


class ViDT(nn.Module):
    """A vision and detection transformer (Song et al. 2022).

    Args:
        backbone: makes maps and detection tokens.
        num_classes: classes, each an independent sigmoid.
        dim: width of the neck.
        neck: arguments of ``Neck``.
        fusion: fuse the maps from coarse to fine before the neck (ViDT+).
        iou_aware: also predict the overlap of each box with its object.
        token_label: also predict the classes of each patch, in training.

    Attributes:
        softmax: whether classes exclude each other, the last being "no object".
    """

    softmax: ClassVar[bool] = False

    def __init__(
        self,
        backbone: Body,
        num_classes: int = 91,
        dim: int = 256,
        neck: dict[str, Any] | None = None,
        fusion: bool = False,
        iou_aware: bool = False,
        token_label: bool = False,
    ) -> None:
        super().__init__()
        channels = backbone.num_channels
        self.num_classes, self.dim = num_classes, dim
        self.num_det_tokens = backbone.det_token.shape[1]
        self.backbone = backbone
        self.transformer = Neck(dim, num_levels=len(channels), **(neck or {}))
        outputs = len(self.transformer.decoder.layers) + 1
        self.class_embed = nn.ModuleList(_class_head(dim, num_classes) for _ in range(outputs))
        self.bbox_embed = nn.ModuleList(
            MultiLayerPerceptron(dim, 4, zero=True) for _ in range(outputs)
        )
        # The first boxes are small, so that tokens look near their references.
        with torch.no_grad():
            self.bbox_embed[0].layers[-1].bias[2:] = -2.0  # type: ignore[index,union-attr]
        if not self.transformer.box_refinement:
            self.class_embed = nn.ModuleList([self.class_embed[0]] * outputs)
            self.bbox_embed = nn.ModuleList([self.bbox_embed[0]] * outputs)
        self.fusion = PyramidFusion(channels, dim) if fusion else None
        self.input_proj = None
        if not fusion:
            self.input_proj = nn.ModuleList(_projection(width, dim) for width in channels)
        self.tgt_proj = _projection(backbone.num_channels[2], dim)
        self.query_pos_proj = _projection(backbone.det_pos_embed.shape[-1], dim)
        self.iou_embed = None
        if iou_aware:
            self.iou_embed = nn.ModuleList(MultiLayerPerceptron(dim, 1) for _ in range(outputs))
        self.token_embed = _class_head(dim, num_classes) if token_label else None

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that optimisers must not decay."""
        return {f"backbone.{name}" for name in self.backbone.no_weight_decay()}

    def untold_options(self) -> dict[str, Any]:
        """Return the keyword arguments of a detector that shapes of its weights do not tell."""
        neck = self.transformer
        attention = cast(DecoderLayer, neck.decoder.layers[0]).cross_attn
        return {
            "cross_stages": list(self.backbone.cross_stages),
            "num_heads": attention.num_heads,
            "num_points": attention.num_points,
            "box_refinement": neck.box_refinement,
        }

    def forward(
        self, images: Images, mask: Tensor | None = None, with_tokens: bool = False
    ) -> dict[str, Any]:
        """Return class logits and boxes.

        Args:
            images: (3, H, W) tensors of any sizes, or a batch (B, 3, H, W).
            mask: True where the batch is padding, (B, H, W).
            with_tokens: return ``tokens``, and ``aux_outputs`` also in eval mode.

        Returns:
            ``pred_logits`` (B, D, classes) and ``pred_boxes`` (B, D, 4) as centre and size in
            0..1 of each image; where the model has them ``pred_ious`` (B, D, 1); in training
            ``aux_outputs``, the same of the layers before, and ``patch_logits`` (B, L, classes).
        """
        images, mask = pad_images(images, mask)
        body = self.backbone(images, mask)
        patches, det_tokens, positions = self._projected(body)
        # The published detectors number the levels of fused maps from coarse to fine.
        levels = patches if self.fusion is None else patches[::-1]
        masks = [resize_mask(mask, map_.shape[-2:]) for map_ in levels]
        states, boxes = self.transformer(det_tokens, positions, levels, masks, self.bbox_embed)
        return self._outputs(Tokens(patches, det_tokens, states), boxes, with_tokens)

    def _projected(self, body: BodyOutput) -> tuple[list[Tensor], Tensor, Tensor]:
        if self.fusion is not None:
            patches = self.fusion(body.maps)
        else:
            assert self.input_proj is not None
            projections = zip(self.input_proj, body.maps, strict=True)
            patches = [project(map_) for project, map_ in projections]
        tokens = _project_tokens(self.tgt_proj, body.det_tokens)
        return patches, tokens, _project_tokens(self.query_pos_proj, body.positions)

    def _outputs(self, tokens: Tokens, boxes: Tensor, with_tokens: bool) -> dict[str, Any]:
        every = self.training or with_tokens
        layers = range(len(boxes)) if every else [len(boxes) - 1]
        found = []
        for layer in layers:
            state = tokens.neck[layer]
            output = {"pred_logits": self.class_embed[layer](state), "pred_boxes": boxes[layer]}
            if self.iou_embed is not None:
                output["pred_ious"] = self.iou_embed[layer](state)
            found.append(output)
        outputs: dict[str, Any] = dict(found[-1])
        if every:
            outputs["aux_outputs"] = found[:-1]
        if self.training and self.token_embed is not None:
            joined = torch.cat([map_.flatten(2) for map_ in tokens.patches], 2)
            outputs["patch_logits"] = self.token_embed(joined.transpose(1, 2))
            outputs["patch_shapes"] = [map_.shape[-2:] for map_ in tokens.patches]
        return outputs | ({"tokens": tokens} if with_tokens else {})


class ViDTWithoutNeck(nn.Module):
    """Reads classes and boxes off the body's detection tokens; ``vidt_wo_neck``.

    Args:
        backbone: makes detection tokens.
        num_classes: classes, beside which there is "no object".
        dim: width of the heads.

    Attributes:
        softmax: whether classes exclude each other, the last being "no object".
    """

    softmax: ClassVar[bool] = True

    def __init__(self, backbone: Body, num_classes: int = 91, dim: int = 256) -> None:
        super().__init__()
        self.num_classes, self.num_det_tokens = num_classes, backbone.det_token.shape[1]
        self.backbone = backbone
        self.input_proj = _projection(backbone.num_channels[2], dim)
        self.class_embed = MultiLayerPerceptron(dim, num_classes + 1)
        self.bbox_embed = MultiLayerPerceptron(dim, 4)

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that optimisers must not decay."""
        return {f"backbone.{name}" for name in self.backbone.no_weight_decay()}

    def untold_options(self) -> dict[str, Any]:
        """Return the keyword arguments of a detector that shapes of its weights do not tell."""
        return {"cross_stages": list(self.backbone.cross_stages)}

    def forward(self, images: Images, mask: Tensor | None = None) -> dict[str, Any]:
        """Return ``pred_logits`` (B, D, classes + 1) and ``pred_boxes`` as ``ViDT`` does."""
        body = self.backbone(*pad_images(images, mask))
        tokens = _project_tokens(self.input_proj, body.det_tokens)
        boxes = self.bbox_embed(tokens).float().sigmoid()
        output = {"pred_logits": self.class_embed(tokens), "pred_boxes": boxes}
        return output | ({"aux_outputs": []} if self.training else {})


def pad_images(images: Images, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return a batch (B, 3, H, W) and its mask (B, H, W), True on the padding right and below."""
    if isinstance(images, Tensor):
        if mask is None:
            shape = images.shape[0], *images.shape[-2:]
            mask = torch.zeros(shape, dtype=torch.bool, device=images.device)
        return images, mask.to(images.device)
    height = max(image.shape[1] for image in images)
    width = max(image.shape[2] for image in images)
    padded, masks = [], []
    for image in images:
        right, below = width - image.shape[2], height - image.shape[1]
        padded.append(F.pad(image, (0, right, 0, below)))
        blank = torch.zeros(image.shape[1:], dtype=torch.bool, device=image.device)
        masks.append(F.pad(blank, (0, right, 0, below), value=True))
    return torch.stack(padded), torch.stack(masks)


def _projection(channels: int, dim: int) -> nn.Sequential:
    convolution = nn.Conv2d(channels, dim, 1)
    nn.init.xavier_uniform_(convolution.weight)
    nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
    return nn.Sequential(convolution, nn.GroupNorm(32, dim))


def _project_tokens(projection: nn.Module, tokens: Tensor) -> Tensor:
    """Project (B, D, C) by a convolution and a group norm whose space is the token axis."""
    return projection(tokens.transpose(1, 2)[..., None])[..., 0].transpose(1, 2)


def _class_head(dim: int, num_classes: int) -> nn.Linear:
    head = nn.Linear(dim, num_classes)
    nn.init.constant_(head.bias, class_bias())
    return head
