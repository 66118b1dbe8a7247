"""Networks for small images, registered with timm: CNN teachers and conv-stem ViT students."""

from typing import Any

from timm.models import register_model
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from vkd.models.conv_stem import ConvStem


class SmallCNN(nn.Module):
    """Convolutions in stages that halve the size; ``features`` is the last map (N, D, H, W).

    Args:
        in_chans: channels of the images.
        widths: channels of each stage.
        num_classes: logits.
    """

    def __init__(
        self, in_chans: int = 1, widths: tuple[int, ...] = (32, 64, 128), num_classes: int = 10
    ) -> None:
        super().__init__()
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
        self.head = nn.Linear(previous, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, C, H, W) to logits (N, classes)."""
        return self.head(self.features(images).mean((2, 3)))


def _conv_vit(shape: dict[str, Any], given: dict[str, Any]) -> VisionTransformer:
    kwargs = {
        "embed_layer": ConvStem,
        "in_chans": 1,
        "num_classes": 10,
        "mlp_ratio": 2.0,
        "class_token": False,
        "global_pool": "avg",
        "fc_norm": False,
    } | shape
    # timm's factory hands every model its own bookkeeping too.
    kwargs |= {
        key: given[key]
        for key in given
        if key not in ("pretrained_cfg", "cache_dir", "pretrained_cfg_overlay")
    }
    return VisionTransformer(**kwargs)  # type: ignore[arg-type]


@register_model
def conv_vit_digits(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """ViT of width 32 and depth 3 for 8x8 grey images."""
    shape = {"img_size": 8, "patch_size": 2, "embed_dim": 32, "depth": 3, "num_heads": 2}
    return _conv_vit(shape, kwargs)


@register_model
def conv_vit_fashion(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """ViT of width 64 and depth 4 for 28x28 grey images."""
    shape = {"img_size": 28, "patch_size": 4, "embed_dim": 64, "depth": 4, "num_heads": 4}
    return _conv_vit(shape, kwargs)


@register_model
def cnn_digits(pretrained: bool = False, **kwargs: Any) -> SmallCNN:
    """CNN with 128 features for 8x8 grey images."""
    return SmallCNN(widths=(32, 64, 128), **_shape(kwargs))


@register_model
def cnn_fashion(pretrained: bool = False, **kwargs: Any) -> SmallCNN:
    """CNN with 256 features for 28x28 grey images."""
    return SmallCNN(widths=(32, 64, 128, 256), **_shape(kwargs))


def _shape(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in kwargs.items() if key in ("in_chans", "num_classes")}
