"""Networks for small images, registered with timm: CNN teachers and conv-stem ViT students."""

from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from vkd.models.conv_stem import ConvStem


def _cfg(side: int, **kwargs: Any) -> dict[str, Any]:
    # Small images are normalised by the statistics of their data set.
    grey = {"input_size": (1, side, side), "mean": None, "std": None, "crop_pct": 1.0}
    return grey | {"num_classes": 10, "classifier": "head"} | kwargs


default_cfgs = generate_default_cfgs(
    {
        "conv_vit_digits": _cfg(8, first_conv="patch_embed.conv.0"),
        "conv_vit_fashion": _cfg(28, first_conv="patch_embed.conv.0"),
        "cnn_digits": _cfg(8, first_conv="features.0"),
        "cnn_fashion": _cfg(28, first_conv="features.0"),
    }
)
# What timm's factory hands every model beside the model's own options.
_OF_TIMM = ("pretrained_cfg", "pretrained_cfg_overlay", "pretrained_model_args", "cache_dir")


class SmallCNN(nn.Module):
    """Convolutions in stages that halve the size; ``features`` is the last map (N, D, H, W).

    Args:
        in_chans: channels of the images.
        widths: channels of each stage.
        num_classes: logits; 0 for pooled features.
    """

    def __init__(
        self, in_chans: int = 1, widths: tuple[int, ...] = (32, 64, 128), num_classes: int = 10
    ) -> None:
        super().__init__()
        self.in_chans, self.num_classes, self.num_features = in_chans, num_classes, widths[-1]
        layers: list[nn.Module] = []
        previous = in_chans
        for stage, width in enumerate(widths):
            layers += [
                nn.Conv2d(previous, width, 3, stride=1 if stage == 0 else 2, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
                nn.Conv2d(width, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
            previous = width
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(previous, num_classes) if num_classes else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, C, H, W) to logits (N, classes), or features (N, D)."""
        return self.head(self.features(images).mean((2, 3)))


def _conv_vit(
    name: str, pretrained: bool, given: dict[str, Any], **shape: Any
) -> VisionTransformer:
    kwargs: dict[str, Any] = {
        "embed_layer": ConvStem,
        "in_chans": 1,
        "num_classes": 10,
        "mlp_ratio": 2.0,
        "class_token": False,
        "global_pool": "avg",
        "fc_norm": False,
    }
    return build_model_with_cfg(VisionTransformer, name, pretrained, **(kwargs | shape | given))


@register_model
def conv_vit_digits(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """ViT of width 32 and depth 3 for 8x8 grey images."""
    shape = {"img_size": 8, "patch_size": 2, "embed_dim": 32, "depth": 3, "num_heads": 2}
    return _conv_vit("conv_vit_digits", pretrained, kwargs, **shape)


@register_model
def conv_vit_fashion(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """ViT of width 64 and depth 4 for 28x28 grey images."""
    shape = {"img_size": 28, "patch_size": 4, "embed_dim": 64, "depth": 4, "num_heads": 4}
    return _conv_vit("conv_vit_fashion", pretrained, kwargs, **shape)


@register_model
def cnn_digits(pretrained: bool = False, **kwargs: Any) -> SmallCNN:
    """CNN with 128 features for 8x8 grey images."""
    return _cnn("cnn_digits", pretrained, kwargs, (32, 64, 128))


@register_model
def cnn_fashion(pretrained: bool = False, **kwargs: Any) -> SmallCNN:
    """CNN with 256 features for 28x28 grey images."""
    return _cnn("cnn_fashion", pretrained, kwargs, (32, 64, 128, 256))


def _cnn(name: str, pretrained: bool, given: dict[str, Any], widths: tuple[int, ...]) -> SmallCNN:
    known = ("in_chans", "num_classes", *_OF_TIMM)
    kwargs = {key: value for key, value in given.items() if key in known}
    return build_model_with_cfg(SmallCNN, name, pretrained, widths=widths, **kwargs)
