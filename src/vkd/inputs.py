"""How a network's images are normalised and sized, and the way from one such format to another."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class InputFormat:
    """The images that a network takes.

    Attributes:
        mean: of each channel, of pixels in 0..1.
        std: deviation of each channel, above 0.
        size: (height, width); None for any.
        crop: share of the resized image that evaluation keeps, above 0.
        interpolation: that evaluation resizes with.

    Raises:
        ValueError: for numbers outside these ranges, or as many means as not deviations.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: tuple[int, int] | None = None
    crop: float = 1.0
    interpolation: str = "bicubic"

    def __post_init__(self) -> None:
        if not self.mean or len(self.mean) != len(self.std):
            raise ValueError(
                f"mean and std must have a number for each channel, found {len(self.mean)} "
                f"and {len(self.std)}."
            )
        if min(self.std) <= 0:
            raise ValueError(f"std must be above 0, found {self.std}.")
        if self.size is not None and (len(self.size) != 2 or min(self.size) < 1):
            raise ValueError(f"size must be (height, width) above 0, found {self.size}.")
        if self.crop <= 0:
            raise ValueError(f"crop must be above 0, found {self.crop}.")

    @property
    def channels(self) -> int:
        """Channels of an image."""
        return len(self.mean)

    def with_channels(self, channels: int) -> "InputFormat":
        """Return the format for images of another number of channels, of the same mean values."""
        if channels == self.channels:
            return self
        mean, std = (sum(values) / self.channels for values in (self.mean, self.std))
        return replace(self, mean=(mean,) * channels, std=(std,) * channels)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON knows them."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "InputFormat":
        """Return the format of ``as_dict``, or of weights files with a ``shape`` (C, H, W).

        Raises:
            ValueError: if ``mean`` or ``std`` are absent, or the shape has other channels.
        """
        absent = [name for name in ("mean", "std") if name not in values]
        if absent:
            raise ValueError(f"An input format needs mean and std, found {', '.join(values)}.")
        shape, size = values.get("shape"), values.get("size")
        if shape is not None:
            if len(shape) != 3 or shape[0] != len(values["mean"]):
                raise ValueError(
                    f"shape must be (channels, height, width) with {len(values['mean'])} "
                    f"channels, found {tuple(shape)}."
                )
            size = size or shape[1:]
        rest = {name: values[name] for name in ("crop", "interpolation") if name in values}
        return cls(
            tuple(values["mean"]), tuple(values["std"]), tuple(size) if size else None, **rest
        )

    @classmethod
    def from_pretrained_cfg(cls, cfg: Mapping[str, Any]) -> "InputFormat | None":
        """Return the format of timm's ``pretrained_cfg``; None where it has no mean."""
        mean, std = cfg.get("mean"), cfg.get("std")
        if not mean or not std:
            return None
        size = tuple(cfg["input_size"][1:]) if cfg.get("input_size") else None
        return cls(
            tuple(mean),
            tuple(std),
            size,
            cfg.get("crop_pct") or 1.0,
            cfg.get("interpolation") or "bicubic",
        )


@runtime_checkable
class PublishesInputs(Protocol):
    """A network that says how it takes images.

    Attributes:
        pretrained_cfg: timm's: ``mean``, ``std``, ``input_size`` (C, H, W), ``crop_pct``,
            ``interpolation``, and whether it is a ``fixed_input_size``, as far as known.
    """

    pretrained_cfg: Mapping[str, Any] | None


def inputs_of(network: nn.Module) -> Mapping[str, Any]:
    """Return what a network says of its images, see ``PublishesInputs``; empty if nothing."""
    return (network.pretrained_cfg or {}) if isinstance(network, PublishesInputs) else {}


def fixed_size_of(network: nn.Module) -> tuple[int, int] | None:
    """Return the only (height, width) that a network takes; None for any, or where not known."""
    known = inputs_of(network)
    if not known.get("fixed_input_size") or not known.get("input_size"):
        return None
    # timm's config has the published size; a network built for another one has its own.
    built = getattr(getattr(network, "patch_embed", None), "img_size", None)
    return tuple(built or known["input_size"][1:])


def format_of(network: nn.Module, stated: InputFormat | None = None) -> InputFormat | None:
    """Return how a network takes images, of its fixed size or any; None where it is not known.

    Args:
        network: any.
        stated: what its weights file says, in place of what is published.
    """
    found = stated or InputFormat.from_pretrained_cfg(inputs_of(network))
    return found and replace(found, size=fixed_size_of(network))


class InputAdapter(nn.Module):
    """Turns images of one format into those of another.

    Colours become grey by the mean of the channels; grey becomes colours by repetition. Images
    whose formats are equal pass unchanged.

    Args:
        source: of the images that come.
        target: of those to return; without a size they keep theirs.
        resize: ``bicubic`` normalises, then resizes with antialiasing; ``area`` resizes, then
            normalises: by averages where images become lower, else bilinear.

    Raises:
        ValueError: for another resize, or numbers of channels that differ and are both above 1.
    """

    def __init__(
        self,
        source: InputFormat,
        target: InputFormat,
        resize: Literal["bicubic", "area"] = "bicubic",
    ) -> None:
        super().__init__()
        if resize not in ("bicubic", "area"):
            raise ValueError(f"resize must be bicubic or area, found {resize!r}.")
        if source.channels != target.channels and 1 not in (source.channels, target.channels):
            raise ValueError(
                f"Images of {source.channels} channels cannot become images of {target.channels}; "
                "the numbers must be equal, or one of them 1."
            )
        self.source, self.target, self.resize = source, target, resize
        self._is_normalised = (source.mean, source.std) == (target.mean, target.std)
        self._averages = target.channels < source.channels
        mean, std, target_mean, target_std = (
            torch.tensor(values, dtype=torch.float32)[:, None, None]
            for values in (source.mean, source.std, target.mean, target.std)
        )
        self.source_mean = nn.Buffer(mean, persistent=False)
        self.source_std = nn.Buffer(std, persistent=False)
        self.target_mean = nn.Buffer(target_mean, persistent=False)
        self.target_std = nn.Buffer(target_std, persistent=False)
        self.scale = nn.Buffer(std / target_std, persistent=False)
        self.shift = nn.Buffer((mean - target_mean) / target_std, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, C, H, W) to (N, target channels, *target size).

        Raises:
            ValueError: if images that are to be renormalised have neither the source's number of
                channels nor one.
        """
        if self._is_normalised:
            return self._resized(images)
        if images.ndim != 4 or images.shape[1] not in (1, self.source.channels):
            raise ValueError(
                f"Images must have shape (N, {self.source.channels}, H, W), found "
                f"{tuple(images.shape)}."
            )
        if self.resize == "bicubic" and not self._averages:
            return self._resized(images * self.scale + self.shift)
        if self._averages:
            pixels = (images * self.source_std + self.source_mean).mean(1, keepdim=True)
            return (self._resized(pixels) - self.target_mean) / self.target_std
        pixels = self._resized(images) * self.source_std + self.source_mean
        return (pixels - self.target_mean) / self.target_std

    def _resized(self, images: Tensor) -> Tensor:
        size = self.target.size
        if size is None or images.shape[-2:] == size:
            return images
        if self.resize == "bicubic":
            return F.interpolate(images, size, mode="bicubic", antialias=True)
        # Averages of squares blur less than antialiased interpolation.
        is_lower = size[0] < images.shape[-2]
        return F.interpolate(images, size, mode="area" if is_lower else "bilinear")
