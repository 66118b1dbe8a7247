"""Parts of pictures for training, decoded no larger than they need and resized the fast way.

A crop is drawn before its picture is decoded, from the size in its header and by the random numbers
that torchvision draws. Pixels differ from those of decoding and resizing by Pillow alone: by less
than 1 of 255 in the mean of a picture, see ``benchmarks/dataloading.py``.
"""

from collections.abc import Callable

import torch
from PIL import Image
from torch.nn import functional as F
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.functional import pil_modes_mapping
from torchvision.transforms.v2.functional import pil_to_tensor, to_image

from vkd.data.pictures import OpenedPicture

# A step from an opened picture to an image that transforms take.
Crop = Callable[[OpenedPicture], Image.Image | tv_tensors.Image]
Box = tuple[int, int, int, int]

# A decoder that shrinks blurs otherwise than a resize; half of what it leaves must be resized yet.
_LEFT_TO_RESIZE = 2
# The processors for which torch has written its resize of bytes by hand; elsewhere Pillow's is as
# fast or faster.
_FAST_PROCESSORS = ("AVX2", "AVX512")
_TORCH_MODES = ("bilinear", "bicubic")


def whole(picture: OpenedPicture) -> Image.Image:
    """Return all of a picture."""
    return picture.decoded()


class RandomPart:
    """A part of random place, area and shape, resized; drawn as ``v2.RandomResizedCrop`` does.

    Args:
        size: (height, width) of the result.
        scale: smallest and largest share of the picture's area.
        interpolation: bilinear, bicubic or another name of ``v2.InterpolationMode``.
    """

    def __init__(
        self, size: tuple[int, int], scale: tuple[float, float], interpolation: str
    ) -> None:
        self.size, self.interpolation = size, interpolation
        self._draw = v2.RandomResizedCrop(size, scale)

    def __call__(self, picture: OpenedPicture) -> tv_tensors.Image:
        """Return a part of a picture that is not decoded yet."""
        width, height = picture.size
        drawn = self._draw.make_params([torch.empty(1, height, width, device="meta")])
        box = (drawn["left"], drawn["top"], drawn["width"], drawn["height"])
        return resized_part(picture, box, self.size, self.interpolation)


class WholeResized:
    """All of a picture with its shorter side resized, as ``v2.Resize`` does.

    Args:
        side: of the result, its shorter one.
        interpolation: see ``RandomPart``.
    """

    def __init__(self, side: int, interpolation: str) -> None:
        self.side, self.interpolation = side, interpolation

    def __call__(self, picture: OpenedPicture) -> tv_tensors.Image:
        """Return a picture that is not decoded yet."""
        width, height = picture.size
        shorter = min(width, height)
        size = (self.side * height // shorter, self.side * width // shorter)
        return resized_part(picture, (0, 0, width, height), size, self.interpolation)


def resized_part(
    picture: OpenedPicture, box: Box, size: tuple[int, int], interpolation: str
) -> tv_tensors.Image:
    """Return a part of a picture as bytes (C, H, W), decoded as small as allows and resized.

    Args:
        picture: not decoded yet.
        box: left, top, width and height of the part.
        size: (height, width) of the result.
        interpolation: see ``RandomPart``.
    """
    left, top, width, height = box
    most = min(width / size[1], height / size[0]) / _LEFT_TO_RESIZE
    shrink = max((s for s in picture.shrinks if s <= most), default=1)
    image = picture.decoded(shrink)
    if shrink == 1:
        return _resized(image.crop((left, top, left + width, top + height)), size, interpolation)
    edges = [edge / shrink for edge in (left, top, left + width, top + height)]
    # Cut at whole pixels first, since a resize looks beyond the edges that it is given.
    x, y = int(edges[0]), int(edges[1])
    part = image.crop((x, y, -int(-edges[2] // 1), -int(-edges[3] // 1)))
    inside = (edges[0] - x, edges[1] - y, edges[2] - x, edges[3] - y)
    return to_image(part.resize(size[::-1], _pillow_mode(interpolation), inside))


def _resized(image: Image.Image, size: tuple[int, int], interpolation: str) -> tv_tensors.Image:
    is_fast = torch.backends.cpu.get_cpu_capability() in _FAST_PROCESSORS
    if not is_fast or interpolation not in _TORCH_MODES:
        return to_image(image.resize(size[::-1], _pillow_mode(interpolation)))
    # Bytes by pixel, as Pillow has them and as torch is fastest.
    pixels = pil_to_tensor(image)[None]
    found = F.interpolate(pixels, size, mode=interpolation, align_corners=False, antialias=True)
    return tv_tensors.Image(found[0])


def _pillow_mode(interpolation: str) -> Image.Resampling:
    return pil_modes_mapping[v2.InterpolationMode(interpolation)]
