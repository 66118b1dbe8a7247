"""The paper's distilled DeiT students, registered with timm."""

from functools import partial
from math import isqrt
from typing import Any

import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.deit import VisionTransformerDistilled
from torch import Tensor

from vkd.models.adapter import Adapter
from vkd.models.conv_stem import ConvStem
from vkd.models.release import orthogonal_weight


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
_SHAPES: dict[str, dict[str, int]] = {
    "deit_ti_distilled": {"embed_dim": 192, "depth": 12, "num_heads": 3},
    "deit_s_distilled": {"embed_dim": 384, "depth": 12, "num_heads": 6},
    "deit_b_distilled": {"embed_dim": 768, "depth": 12, "num_heads": 12},
}
_PATCH = 16
_STEM = partial(ConvStem, width=64, kernel=7, stride=2, depth=3)


def _deit(name: str, given: dict[str, Any], **shape: Any) -> DistilledDeiT:
    kwargs: dict[str, Any] = {"patch_size": _PATCH, "embed_layer": _STEM} | shape | given
    return build_model_with_cfg(DistilledDeiT, name, False, **kwargs)


@register_model
def deit_ti_distilled(pretrained: bool = False, **kwargs: Any) -> DistilledDeiT:
    """DeiT-Ti: width 192, depth 12, 3 heads."""
    return _deit("deit_ti_distilled", kwargs, **_SHAPES["deit_ti_distilled"])


@register_model
def deit_s_distilled(pretrained: bool = False, **kwargs: Any) -> DistilledDeiT:
    """DeiT-S: width 384, depth 12, 6 heads."""
    return _deit("deit_s_distilled", kwargs, **_SHAPES["deit_s_distilled"])


@register_model
def deit_b_distilled(pretrained: bool = False, **kwargs: Any) -> DistilledDeiT:
    """DeiT-B: width 768, depth 12, 12 heads."""
    return _deit("deit_b_distilled", kwargs, **_SHAPES["deit_b_distilled"])


@register_model
def deit_fashion_distilled(pretrained: bool = False, **kwargs: Any) -> DistilledDeiT:
    """A scaled-down distilled DeiT for 28x28 grey images: width 64, depth 4, 4 heads."""
    stem = partial(ConvStem, width=32, kernel=3, stride=2, depth=3)
    shape = {"embed_dim": 64, "depth": 4, "num_heads": 4, "patch_size": 4, "embed_layer": stem}
    shape |= {"img_size": 28, "in_chans": 1, "num_classes": 10}
    return _deit("deit_fashion_distilled", kwargs, **shape)


# Tensors of the paper's files whose last dimension is the width.
_WIDE = ("pos_embed", "cls_token", "norm.weight")
_BY_WIDTH = {shape["embed_dim"]: name for name, shape in _SHAPES.items()}
_PROJECTOR = "projector."
_ORIGINAL = f"{_PROJECTOR}parametrizations.weight.original"
_BASE = f"{_PROJECTOR}parametrizations.weight.0.base"


def _is_deit(state: dict[str, Tensor]) -> bool:
    return _width(state) in _BY_WIDTH and any(k.startswith("patch_embed.conv.") for k in state)


def _width(state: dict[str, Tensor]) -> int:
    return next((state[key].shape[-1] for key in _WIDE if key in state), 0)


def _architecture(state: dict[str, Tensor]) -> tuple[str, dict[str, Any]]:
    shape = {}
    if "head.weight" in state:
        shape["num_classes"] = len(state["head.weight"])
    if "pos_embed" in state:
        shape["img_size"] = _PATCH * isqrt(state["pos_embed"].shape[1] - 2)
    if "patch_embed.conv.0.weight" in state:
        shape["in_chans"] = state["patch_embed.conv.0.weight"].shape[1]
    return _BY_WIDTH[_width(state)], shape


def split_projector(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Split a release's weights into the model's and the projector's.

    The latter is the orthonormal matrix ``weight`` (teacher_dim, student_dim), if there is one.
    """
    model = {key: value for key, value in state.items() if not key.startswith(_PROJECTOR)}
    if _ORIGINAL not in state:
        return model, {}
    return model, {"weight": orthogonal_weight(state[_ORIGINAL], state[_BASE])}


ADAPTER = Adapter(recognises=_is_deit, architecture=_architecture, split=split_projector)
