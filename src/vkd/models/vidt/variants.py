"""The ViDT detectors by name, registered with timm."""

from typing import Any

from timm.models import generate_default_cfgs, register_model
from torch import nn

from vkd.errors import UserError
from vkd.models.vidt.body import Body, SwinBody
from vkd.models.vidt.coat import CoatBody
from vkd.models.vidt.detector import ViDT, ViDTWithoutNeck

ARCHITECTURES = ("vidt", "vidt_wo_neck")
SWIN: dict[str, dict[str, Any]] = {
    "vidt_nano": {"embed_dim": 48, "depths": (2, 2, 6, 2), "num_heads": (3, 6, 12, 24)},
    "vidt_tiny": {"embed_dim": 96, "depths": (2, 2, 6, 2), "num_heads": (3, 6, 12, 24)},
    "vidt_small": {"embed_dim": 96, "depths": (2, 2, 18, 2), "num_heads": (3, 6, 12, 24)},
    "vidt_base": {"embed_dim": 128, "depths": (2, 2, 18, 2), "num_heads": (4, 8, 16, 32)},
    "vidt_large": {"embed_dim": 192, "depths": (2, 2, 18, 2), "num_heads": (6, 12, 24, 48)},
    "vidt_digits": {"embed_dim": 16, "depths": (1, 1, 2, 1), "num_heads": (1, 2, 4, 8)},
    "vidt_digits_large": {"embed_dim": 32, "depths": (1, 1, 2, 1), "num_heads": (2, 4, 8, 16)},
}
COAT: dict[str, dict[str, Any]] = {
    "vidt_coat_lite_tiny": {"dims": (64, 128, 256, 320), "depths": (2, 2, 2, 2)},
    "vidt_coat_lite_mini": {"dims": (64, 128, 320, 512), "depths": (2, 2, 2, 2)},
    "vidt_coat_lite_small": {"dims": (64, 128, 320, 512), "depths": (3, 4, 6, 3)},
}
# Weights of timm whose blocks a body can start from; there are none of nano's widths.
BACKBONES = {
    "vidt_tiny": "swin_tiny_patch4_window7_224.ms_in1k",
    "vidt_small": "swin_small_patch4_window7_224.ms_in1k",
    "vidt_base": "swin_base_patch4_window7_224.ms_in22k",
    "vidt_large": "swin_large_patch4_window7_224.ms_in22k",
    "vidt_coat_lite_tiny": "coat_lite_tiny.in1k",
    "vidt_coat_lite_mini": "coat_lite_mini.in1k",
    "vidt_coat_lite_small": "coat_lite_small.in1k",
}
NAMES = (*SWIN, *COAT)
# Keyword arguments beside those that recipes have fields for.
BODY_OPTIONS = frozenset({"position_dim", "cross_stages", "dim"})
NECK_OPTIONS = frozenset({"num_layers", "feed_forward", "dropout", "num_heads", "num_points"})
_DIGITS: dict[str, Any] = {
    "num_classes": 10,
    "num_det_tokens": 20,
    "dim": 64,
    "position_dim": 64,
    "num_layers": 3,
    "feed_forward": 128,
    "num_heads": 4,
    "dropout": 0.0,
}

default_cfgs = generate_default_cfgs(
    {name: {"num_classes": 91, "classifier": "class_embed.0"} for name in NAMES}
)


def _build(name: str, pretrained: bool, **options: Any) -> nn.Module:
    if pretrained:
        raise UserError(f"No weights of {name} are published with timm; name a checkpoint.")
    for of_timm in (
        "pretrained_cfg", "pretrained_cfg_overlay", "pretrained_model_args", "cache_dir"
    ):  # fmt: skip
        options.pop(of_timm, None)
    return _detector(name, **options)


def _detector(
    name: str,
    architecture: str = "vidt",
    num_classes: int = 91,
    num_det_tokens: int = 100,
    drop_path_rate: float = 0.0,
    position_dim: int = 256,
    cross_stages: tuple[int, ...] = (3,),
    dim: int = 256,
    fusion: bool = False,
    iou_aware: bool = False,
    token_label: bool = False,
    **neck: Any,
) -> nn.Module:
    if architecture not in ARCHITECTURES:
        raise UserError(
            f"architecture must be one of {', '.join(ARCHITECTURES)}, found {architecture!r}."
        )
    with_neck = architecture == "vidt"
    shared: dict[str, Any] = {
        "num_det_tokens": num_det_tokens,
        "position_dim": position_dim,
        "cross_stages": tuple(cross_stages),
        "last_dim": dim if with_neck else 0,
    }
    if name in COAT:
        if drop_path_rate:
            raise UserError(f"{name} has no stochastic depth; drop_path must be 0.")
        body: Body = CoatBody(**COAT[name], **shared)
    else:
        body = SwinBody(**SWIN[name], drop_path_rate=drop_path_rate, **shared)
    if with_neck:
        return ViDT(body, num_classes, dim, neck, fusion, iou_aware, token_label)
    return ViDTWithoutNeck(body, num_classes, dim)


@register_model
def vidt_nano(pretrained: bool = False, **options: Any) -> nn.Module:
    """ViDT on Swin-nano, 16 M parameters; ``options`` are those of ``ViDT``, its body and neck."""
    return _build("vidt_nano", pretrained, **options)


@register_model
def vidt_tiny(pretrained: bool = False, **options: Any) -> nn.Module:
    """ViDT on Swin-tiny, 38 M parameters."""
    return _build("vidt_tiny", pretrained, **options)


@register_model
def vidt_small(pretrained: bool = False, **options: Any) -> nn.Module:
    """ViDT on Swin-small, 61 M parameters."""
    return _build("vidt_small", pretrained, **options)


@register_model
def vidt_base(pretrained: bool = False, **options: Any) -> nn.Module:
    """ViDT on Swin-base, 0.1 G parameters."""
    return _build("vidt_base", pretrained, **options)


@register_model
def vidt_large(pretrained: bool = False, **options: Any) -> nn.Module:
    """ViDT on Swin-large, 0.2 G parameters."""
    return _build("vidt_large", pretrained, **options)


@register_model
def vidt_digits(pretrained: bool = False, **options: Any) -> nn.Module:
    """A small ViDT for the recipe digits-detection."""
    return _build("vidt_digits", pretrained, **(_DIGITS | options))


@register_model
def vidt_digits_large(pretrained: bool = False, **options: Any) -> nn.Module:
    """The teacher of the recipe digits-detection."""
    return _build("vidt_digits_large", pretrained, **(_DIGITS | options))


@register_model
def vidt_coat_lite_tiny(pretrained: bool = False, **options: Any) -> nn.Module:
    """ViDT on CoaT-lite tiny."""
    return _build("vidt_coat_lite_tiny", pretrained, **options)


@register_model
def vidt_coat_lite_mini(pretrained: bool = False, **options: Any) -> nn.Module:
    """ViDT on CoaT-lite mini."""
    return _build("vidt_coat_lite_mini", pretrained, **options)


@register_model
def vidt_coat_lite_small(pretrained: bool = False, **options: Any) -> nn.Module:
    """ViDT on CoaT-lite small."""
    return _build("vidt_coat_lite_small", pretrained, **options)
