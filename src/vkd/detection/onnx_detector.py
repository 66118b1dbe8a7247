"""Detectors that exported files hold: on a canvas of one size, with a mask of its padding."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vkd.models.onnx_network import OnnxNetwork


def on_canvas(images: Sequence[Tensor], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return images (3, H, W) as a batch (B, 3, *size) and its mask (B, *size), True on padding.

    Those that are larger are shrunk to fit; boxes are relative to the image and stay right.
    """
    batch = images[0].new_zeros(len(images), 3, *size)
    mask = torch.ones(len(images), *size, dtype=torch.bool, device=batch.device)
    for place, image in enumerate(images):
        fitting = _shrunk(image, size)
        height, width = fitting.shape[1:]
        batch[place, :, :height, :width] = fitting
        mask[place, :height, :width] = False
    return batch, mask


def _shrunk(image: Tensor, size: tuple[int, int]) -> Tensor:
    scale = min(most / side for most, side in zip(size, image.shape[1:], strict=True))
    if scale >= 1:
        return image
    sides = [max(1, int(side * scale)) for side in image.shape[1:]]
    return F.interpolate(image[None], sides, mode="bilinear", antialias=True)[0]


class DetectorOfFile(nn.Module):
    """A detector that an exported file holds, called as ``ViDT`` is.

    Args:
        network: of the file.

    Attributes:
        num_classes: classes, beside which there may be "no object".
        softmax: whether classes exclude each other, the last being "no object".
    """

    def __init__(self, network: OnnxNetwork) -> None:
        super().__init__()
        self.network = network
        self.softmax = network.metadata.get("scores") == "softmax"
        self.num_classes = cast(int, network.outputs["pred_logits"][-1]) - self.softmax
        self.size = cast(tuple[int, int], tuple(network.inputs["images"][2:]))

    def cost(self) -> dict[str, float]:
        """Return parameters and multiply-adds, as the file has them."""
        return self.network.cost()

    def forward(self, images: list[Tensor]) -> dict[str, Tensor]:
        """Return ``pred_logits`` and ``pred_boxes`` of images (3, H, W) of any sizes."""
        logits, boxes = self.network(*on_canvas(images, self.size))
        return {"pred_logits": logits, "pred_boxes": boxes}
