"""The paper's distilled DeiT students, registered with timm."""

from functools import partial
from math import isqrt
from typing import Any

import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.deit import VisionTransformerDistilled
from torch import Tensor

from vkd.errors import UserError
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
        # The shape, as len would fix the batch of an exported program.
        class_token = self.cls_token.expand(x.shape[0], -1, -1)
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


def _deit(name: str, pretrained: bool, given: dict[str, Any], **shape: Any) -> DistilledDeiT:
    kwargs: dict[str, Any] = {"patch_size": _PATCH, "embed_layer": _STEM} | shape | given
    return build_model_with_cfg(DistilledDeiT, name, pretrained, **kwargs)


@register_model
def deit_ti_distilled(pretrained: bool = False, **kwargs: Any) -> DistilledDeiT:
    """DeiT-Ti: width 192, depth 12, 3 heads."""
    return _deit("deit_ti_distilled", pretrained, kwargs, **_SHAPES["deit_ti_distilled"])


@register_model
def deit_s_distilled(pretrained: bool = False, **kwargs: Any) -> DistilledDeiT:
    """DeiT-S: width 384, depth 12, 6 heads."""
    return _deit("deit_s_distilled", pretrained, kwargs, **_SHAPES["deit_s_distilled"])


@register_model
def deit_b_distilled(pretrained: bool = False, **kwargs: Any) -> DistilledDeiT:
    """DeiT-B: width 768, depth 12, 12 heads."""
    return _deit("deit_b_distilled", pretrained, kwargs, **_SHAPES["deit_b_distilled"])


@register_model
def deit_fashion_distilled(pretrained: bool = False, **kwargs: Any) -> DistilledDeiT:
    """A scaled-down distilled DeiT for 28x28 grey images: width 64, depth 4, 4 heads."""
    stem = partial(ConvStem, width=32, kernel=3, stride=2, depth=3)
    shape = {"embed_dim": 64, "depth": 4, "num_heads": 4, "patch_size": 4, "embed_layer": stem}
    shape |= {"img_size": 28, "in_chans": 1, "num_classes": 10}
    return _deit("deit_fashion_distilled", pretrained, kwargs, **shape)


# Tensors of the paper's files whose last dimension is the width.
_WIDE = ("pos_embed", "cls_token", "norm.weight")
_DIMENSIONS = {
    "pos_embed": 3, "cls_token": 3, "norm.weight": 1, "head.weight": 2,
    "patch_embed.conv.0.weight": 4, "conv_embed.conv.0.weight": 4,
}  # fmt: skip
_BY_WIDTH = {shape["embed_dim"]: name for name, shape in _SHAPES.items()}
_PROJECTOR = "projector."
_ORIGINAL = f"{_PROJECTOR}parametrizations.weight.original"
_PARAMETRISATION = f"{_PROJECTOR}parametrizations.weight.0."
_BASE = f"{_PARAMETRISATION}base"
_THEIRS, _OURS = "conv_embed.", "patch_embed."  # the stem in the release's files, and here


def _is_deit(state: dict[str, Tensor]) -> bool:
    stems = (f"{_THEIRS}conv.", f"{_OURS}conv.")
    return _width(state) in _BY_WIDTH and any(key.startswith(stems) for key in state)


def _width(state: dict[str, Tensor]) -> int:
    shapes = (state[key].shape for key in _WIDE if key in state)
    return next((shape[-1] for shape in shapes if shape), 0)


def _architecture(state: dict[str, Tensor]) -> tuple[str, dict[str, Any]]:
    state = _ours(state)
    shape = {}
    if "head.weight" in state:
        shape["num_classes"] = len(state["head.weight"])
    if "pos_embed" in state:
        shape["img_size"] = _side(state["pos_embed"])
    if "patch_embed.conv.0.weight" in state:
        shape["in_chans"] = state["patch_embed.conv.0.weight"].shape[1]
    return _BY_WIDTH[_width(state)], shape


def _side(positions: Tensor) -> int:
    """The side of the images whose tokens, those of class and distillation aside, are a square."""
    tokens = positions.shape[1] - 2
    if tokens < 1 or isqrt(tokens) ** 2 != tokens:
        raise UserError(
            f"pos_embed has {tokens + 2} tokens; expected those of a square of patches and 2 more."
        )
    return _PATCH * isqrt(tokens)


def _ours(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        _OURS + key.removeprefix(_THEIRS) if key.startswith(_THEIRS) else key: value
        for key, value in state.items()
    }


def split_projector(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Split a release's weights into the model's and the projector's.

    The latter is the orthonormal matrix ``weight`` (teacher_dim, student_dim), if there is one.
    """
    others = {key for key in state if key.startswith(_PARAMETRISATION)} - {_BASE}
    if _ORIGINAL not in state or others:
        # None, or one of a network of somebody's own that is parametrised otherwise.
        return state, {}
    model = {key: value for key, value in state.items() if not key.startswith(_PROJECTOR)}
    return model, {"weight": orthogonal_weight(state[_ORIGINAL], state.get(_BASE))}


ADAPTER = Adapter(
    recognises=_is_deit,
    dimensions=_DIMENSIONS,
    architecture=_architecture,
    split=lambda state: split_projector(_ours(state)),
)
