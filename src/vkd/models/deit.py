"""The paper's distilled DeiT students, registered with timm."""

from functools import partial
from typing import Any

import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.deit import VisionTransformerDistilled
from torch import Tensor

from vkd.models.conv_stem import ConvStem


class DistilledDeiT(VisionTransformerDistilled):
    """timm's distilled DeiT whose distillation token is the mean of the patch embeddings.

    In eval mode, ``forward`` returns the mean of the two heads' logits (N, classes). In training
    mode after ``set_distilled_training(True)`` it returns both, (class, distillation).

    Source: the release of the paper; the stem is ``ConvStem``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.register_parameter("dist_token", None)

    def _pos_embed(self, x: Tensor) -> Tensor:
        assert self.cls_token is not None
        assert self.pos_embed is not None
        class_token = self.cls_token.expand(len(x), -1, -1)
        tokens = torch.cat([class_token, x.mean(1, keepdim=True), x], dim=1)
        return self.pos_drop(tokens + self.pos_embed)


def _cfg(**kwargs: Any) -> dict[str, Any]:
    return {
        "num_classes": 1000,
        "input_size": (3, 224, 224),
        "fixed_input_size": True,
        "crop_pct": 0.875,
        "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "first_conv": "patch_embed.conv.0",
        "classifier": ("head", "head_dist"),
    } | kwargs


_GREY = {"input_size": (1, 28, 28), "num_classes": 10, "mean": None, "std": None}
default_cfgs = generate_default_cfgs(
    {
        "deit_ti_distilled": _cfg(),
        "deit_s_distilled": _cfg(),
        "deit_b_distilled": _cfg(),
        "deit_fashion_distilled": _cfg(**_GREY),
    }
)
_STEM = partial(ConvStem, width=64, kernel=7, stride=2, depth=3)


def _deit(name: str, given: dict[str, Any], **shape: Any) -> DistilledDeiT:
    kwargs: dict[str, Any] = {"patch_size": 16, "embed_layer": _STEM} | shape | given
    return build_model_with_cfg(DistilledDeiT, name, False, **kwargs)


@register_model
def deit_ti_distilled(pretrained: bool = False, **kwargs: Any) -> DistilledDeiT:
    """DeiT-Ti: width 192, depth 12, 3 heads."""
    return _deit("deit_ti_distilled", kwargs, embed_dim=192, depth=12, num_heads=3)


@register_model
def deit_s_distilled(pretrained: bool = False, **kwargs: Any) -> DistilledDeiT:
    """DeiT-S: width 384, depth 12, 6 heads."""
    return _deit("deit_s_distilled", kwargs, embed_dim=384, depth=12, num_heads=6)


@register_model
def deit_b_distilled(pretrained: bool = False, **kwargs: Any) -> DistilledDeiT:
    """DeiT-B: width 768, depth 12, 12 heads."""
    return _deit("deit_b_distilled", kwargs, embed_dim=768, depth=12, num_heads=12)


@register_model
def deit_fashion_distilled(pretrained: bool = False, **kwargs: Any) -> DistilledDeiT:
    """A scaled-down distilled DeiT for 28x28 grey images: width 64, depth 4, 4 heads."""
    stem = partial(ConvStem, width=32, kernel=3, stride=2, depth=3)
    shape = {"embed_dim": 64, "depth": 4, "num_heads": 4, "patch_size": 4, "embed_layer": stem}
    shape |= {"img_size": 28, "in_chans": 1, "num_classes": 10}
    return _deit("deit_fashion_distilled", kwargs, **shape)
