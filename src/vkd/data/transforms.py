"""Transforms of photographs: the DeiT recipe's for training, resize and crop for evaluation."""

import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torchvision.transforms import v2

_BICUBIC = v2.InterpolationMode.BICUBIC


def training_transform(
    size: int, augmentation: str = "none", color_jitter: float = 0.0, flip: bool = True
) -> v2.Transform:
    """Return random-resized crop (8 to 100 % of the area, bicubic), flip and colour changes.

    Args:
        size: side of the square result in pixels.
        augmentation: ``three-augment`` applies one of grey, solarise and blur to each image.
        color_jitter: strength of changes of brightness, contrast and saturation.
        flip: mirror half of the images.

    Source: DeiT III's 3-augment, as in the release of the paper.
    """
    steps: list[v2.Transform] = [v2.RandomResizedCrop(size, (0.08, 1.0), interpolation=_BICUBIC)]
    if flip:
        steps.append(v2.RandomHorizontalFlip())
    if augmentation == "three-augment":
        one_of = [
            v2.Grayscale(3),
            v2.RandomSolarize(threshold=128, p=1.0),
            v2.GaussianBlur(kernel_size=9, sigma=(0.1, 2.0)),
        ]
        steps.append(v2.RandomChoice(one_of))
    if color_jitter:
        steps.append(v2.ColorJitter(color_jitter, color_jitter, color_jitter))
    return v2.Compose([*steps, *_to_normalised()])


def evaluation_transform(size: int) -> v2.Transform:
    """Return resize to ``size`` / 0.875 (bicubic), centre crop and normalisation."""
    resize = v2.Resize(int(size / 0.875), interpolation=_BICUBIC)
    return v2.Compose([resize, v2.CenterCrop(size), *_to_normalised()])


def _to_normalised() -> list[v2.Transform]:
    return [
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD),
        v2.ToPureTensor(),
    ]
