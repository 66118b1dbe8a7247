"""Frozen vision networks that look at generated images: teachers, and extractors for metrics."""

import json
from typing import Any, Protocol

import torch
import torch_fidelity
from torch import Tensor, nn
from torch.nn import functional as F

from vkd.errors import RunError
from vkd.features import Pool
from vkd.models import HUB, create_model, last_layer, read_metadata
from vkd.teacher import NetworkTeacher, TeacherOutput

INCEPTION = "inception"


class Preparation(nn.Module):
    """Turns images (N, C, H, W) in -1..1 into a network's input.

    Args:
        mean, std: per-channel statistics that the network's images are normalised with; their
            number is its channels.
        size: (height, width) of its images.
    """

    def __init__(
        self, mean: tuple[float, ...], std: tuple[float, ...], size: tuple[int, int]
    ) -> None:
        super().__init__()
        self.size = size
        self.mean = nn.Buffer(torch.tensor(mean)[:, None, None], persistent=False)
        self.std = nn.Buffer(torch.tensor(std)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, C, H, W) in -1..1 to (N, channels, *size)."""
        channels = len(self.mean)
        if channels == 1:
            images = images.mean(1, keepdim=True)
        elif images.shape[1] == 1:
            images = images.expand(-1, channels, -1, -1)
        if images.shape[-2:] != self.size:
            # Averages of squares blur less than antialiased interpolation.
            smaller = self.size[0] < images.shape[-2]
            images = F.interpolate(images, self.size, mode="area" if smaller else "bilinear")
        return ((images + 1) / 2 - self.mean) / self.std


def frozen_network(
    name: str, checkpoint: str, layer: str = "", pool: str | Pool = "auto"
) -> NetworkTeacher:
    """Return a frozen classifier or backbone that answers images in -1..1.

    Args:
        name: of `vkd models` or timm.
        checkpoint: weights file, run folder, or ``hub``.
        layer: submodule whose output is the features; its last when empty.
        pool: see ``vkd.features.pooling``.

    Raises:
        UserError: for an unknown name, checkpoint or layer.
    """
    told = {} if checkpoint == HUB else read_metadata(checkpoint)
    inputs: dict[str, Any] = json.loads(told["inputs"]) if "inputs" in told else {}
    options: dict[str, Any] = {"in_chans": inputs["shape"][0]} if inputs else {}
    model = create_model(name, checkpoint, **options)
    known: dict[str, Any] = getattr(model, "pretrained_cfg", None) or {}
    shape = inputs.get("shape") or known.get("input_size") or (3, 224, 224)
    mean = inputs.get("mean") or known.get("mean") or (0.5,) * shape[0]
    std = inputs.get("std") or known.get("std") or (0.5,) * shape[0]
    preparation = Preparation(tuple(mean), tuple(std), tuple(shape[1:]))
    return NetworkTeacher(model, layer or last_layer(model), pool, preparation)


class Extractor(Protocol):
    """Answers with features and class logits of images (N, C, 32, 32) in -1..1."""

    def __call__(self, images: Tensor, indices: Tensor | None = None) -> TeacherOutput: ...


class Inception:
    """The Inception network of FID, with the weights that torch-fidelity publishes.

    Raises:
        RunError: if they cannot be fetched.
    """

    def __init__(self) -> None:
        try:
            self._network = torch_fidelity.utils.create_feature_extractor(
                "inception-v3-compat", ["2048", "logits_unbiased"], cuda=False, verbose=False
            )
        except OSError as error:
            raise RunError(
                f"The weights of Inception could not be fetched: {error}; name a local network "
                "with --extractor and --extractor-checkpoint."
            ) from None

    @torch.no_grad()
    def __call__(self, images: Tensor, indices: Tensor | None = None) -> TeacherOutput:
        colours = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
        network = self._network.to(images.device)
        return TeacherOutput(*network(((colours + 1) * 127.5).round().byte()))


def extractor_of(name: str, checkpoint: str) -> Extractor:
    """Return the extractor of a name: ``inception``, or a classifier with its checkpoint."""
    return Inception() if name == INCEPTION else frozen_network(name, checkpoint)
