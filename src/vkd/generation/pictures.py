"""Generated images as pictures."""

from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import to_pil_image
from torchvision.utils import make_grid


def grid(images: Tensor, columns: int) -> Image.Image:
    """Return images (N, C, H, W) in -1..1 as one picture."""
    return to_pil_image(make_grid((images + 1) / 2, columns, padding=1, pad_value=1.0).clamp(0, 1))


def picture(image: Tensor) -> Image.Image:
    """Return an image (C, H, W) in -1..1 as a picture."""
    return to_pil_image(((image + 1) / 2).clamp(0, 1))
