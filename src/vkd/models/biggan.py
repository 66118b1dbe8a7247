"""BigGAN for 32 x 32 images, class-conditional (Brock et al. 2019, as its CIFAR configuration).

Shapes: N images, C channels, Z noise, W width of all blocks (4 times ``channels``).
"""

from typing import Any

import torch
from timm.models import generate_default_cfgs, register_model
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from vkd.errors import UserError
from vkd.models.adapter import Adapter

SIDE = 32
default_cfgs = generate_default_cfgs({"biggan": {"num_classes": 10, "classifier": ""}})


class ConditionalBatchNorm(nn.Module):
    """Batch normalisation whose scale and shift are looked up by class."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(width, affine=False)
        self.scale, self.shift = (nn.Embedding(num_classes, width) for _ in range(2))
        nn.init.ones_(self.scale.weight)
        nn.init.zeros_(self.shift.weight)

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """Map (N, W, H, H) with labels (N,) to the same shape."""
        scale, shift = self.scale(labels), self.shift(labels)
        return self.norm(features) * scale[..., None, None] + shift[..., None, None]


class GeneratorBlock(nn.Module):
    """A residual block that doubles the size of a map."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.norm1 = ConditionalBatchNorm(width, num_classes)
        self.conv1 = _convolution(width, width)
        self.norm2 = ConditionalBatchNorm(width, num_classes)
        self.conv2 = _convolution(width, width)
        self.shortcut = _convolution(width, width, 1)

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """Map (N, W, H, H) to (N, W, 2H, 2H)."""
        hidden = F.interpolate(F.relu(self.norm1(features, labels)), scale_factor=2)
        hidden = self.conv2(F.relu(self.norm2(self.conv1(hidden), labels)))
        return hidden + F.interpolate(self.shortcut(features), scale_factor=2)


class Generator(nn.Module):
    """Makes images of classes from noise.

    Args:
        num_classes: classes.
        in_chans: channels of the images.
        channels: a quarter of the width of all blocks.
        noise_dim: numbers of noise for an image.
    """

    def __init__(
        self, num_classes: int = 10, in_chans: int = 3, channels: int = 96, noise_dim: int = 128
    ) -> None:
        super().__init__()
        width = 4 * channels
        self.num_classes, self.noise_dim, self.width = num_classes, noise_dim, width
        self.linear = spectral_norm(nn.Linear(noise_dim, 16 * width))
        self.blocks = nn.ModuleList(GeneratorBlock(width, num_classes) for _ in range(3))
        self.norm = nn.BatchNorm2d(width)
        self.conv = _convolution(width, in_chans)
        self.apply(_initialise)

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Map noise (N, Z) and labels (N,) to images (N, C, 32, 32) in -1..1."""
        features = self.linear(noise).view(-1, self.width, 4, 4)
        for block in self.blocks:
            features = block(features, labels)
        return self.conv(F.relu(self.norm(features))).tanh()

    def draw(
        self, count: int, random: torch.Generator | None = None, device: torch.device | str = "cpu"
    ) -> Tensor:
        """Return noise (count, Z) on ``device``, which is that of ``random`` where it is given."""
        return torch.randn(count, self.noise_dim, generator=random, device=device)


class DiscriminatorBlock(nn.Module):
    """A residual block that halves the size of a map, or keeps it."""

    def __init__(self, into: int, width: int, first: bool, halve: bool) -> None:
        super().__init__()
        self.first, self.halve = first, halve
        self.conv1 = _convolution(into, width)
        self.conv2 = _convolution(width, width)
        self.shortcut = _convolution(into, width, 1) if halve or into != width else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, into, H, H) to (N, W, H or H / 2, H or H / 2)."""
        hidden = features if self.first else F.relu(features)
        hidden = self.conv2(F.relu(self.conv1(hidden)))
        return self._sized(hidden) + self._sized(self.shortcut(features))

    def _sized(self, features: Tensor) -> Tensor:
        return F.avg_pool2d(features, 2) if self.halve else features


class Discriminator(nn.Module):
    """Tells images of a class from made ones, by a projection discriminator (Miyato 2018).

    Args:
        num_classes: classes.
        in_chans: channels of the images.
        channels: a quarter of the width of all blocks.
    """

    def __init__(self, num_classes: int = 10, in_chans: int = 3, channels: int = 96) -> None:
        super().__init__()
        self.width = width = 4 * channels
        self.blocks = nn.Sequential(
            *(
                DiscriminatorBlock(into, width, first=index == 0, halve=index < 2)
                for index, into in enumerate((in_chans, width, width, width))
            )
        )
        self.linear = spectral_norm(nn.Linear(width, 1))
        self.embedding = spectral_norm(nn.Embedding(num_classes, width))
        self.apply(_initialise)

    def forward(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Map images (N, C, 32, 32) with labels (N,) to logits (N,) and features (N, W).

        Logits are of the sum over places, as BigGAN's; features are the mean, whose scale is that
        of other networks' pooled features.
        """
        places = F.relu(self.blocks(images)).flatten(2)
        total = places.sum(2)
        by_class = (total * self.embedding(labels)).sum(1)
        return self.linear(total)[:, 0] + by_class, places.mean(2)


def _convolution(into: int, out: int, size: int = 3) -> nn.Module:
    return spectral_norm(nn.Conv2d(into, out, size, padding=size // 2))


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        weight: Any = module.parametrizations.weight.original  # type: ignore[union-attr]
        nn.init.orthogonal_(weight)
        nn.init.zeros_(module.bias)  # type: ignore[arg-type]


_NOISE, _IMAGE = "linear.parametrizations.weight.original", "conv.bias"
_CLASSES = "blocks.0.norm1.scale.weight"


def options_of(state: dict[str, Tensor]) -> dict[str, Any]:
    """Return the keyword arguments with which a generator fits weights.

    Raises:
        UserError: if none does.
    """
    outputs = state[_NOISE].shape[0]
    if outputs % 64:
        raise UserError(f"{_NOISE} has {outputs} rows; expected 64 times the channels.")
    return {
        "num_classes": len(state[_CLASSES]),
        "in_chans": len(state[_IMAGE]),
        "channels": outputs // 64,
        "noise_dim": state[_NOISE].shape[1],
    }


ADAPTER = Adapter(
    recognises=lambda state: {_NOISE, _IMAGE, _CLASSES} <= state.keys(),
    dimensions={_NOISE: 2, _IMAGE: 1, _CLASSES: 2},
    architecture=lambda state: ("biggan", options_of(state)),
)


@register_model
def biggan(pretrained: bool = False, **options: Any) -> nn.Module:
    """The generator of BigGAN for 32 x 32 images; ``options`` are those of ``Generator``."""
    if pretrained:
        raise UserError("No weights of biggan are published with timm; name a checkpoint.")
    for of_timm in (
        "pretrained_cfg", "pretrained_cfg_overlay", "pretrained_model_args", "cache_dir"
    ):  # fmt: skip
        options.pop(of_timm, None)
    return Generator(**options)
