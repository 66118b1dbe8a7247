"""Transforms of photographs: the DeiT recipe's for training, resize and crop for evaluation."""

from typing import cast

import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torchvision.transforms import v2

from vkd.data.draws import BLUR_SIDE, SIGMAS, THRESHOLD, PhotographDraw
from vkd.inputs import InputFormat

# How the networks of the paper, and most others, take photographs.
IMAGENET = InputFormat(
    IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, (224, 224), crop=0.875, interpolation="bicubic"
)


def training_transform(
    inputs: InputFormat,
    augmentation: str = "none",
    color_jitter: float = 0.0,
    flip: bool = True,
    crop: str = "random",
    on_device: bool = False,
) -> v2.Transform:
    """Return a crop, flip and colour changes.

    Args:
        inputs: size, normalisation and interpolation of the result.
        augmentation: ``three-augment`` applies one of grey, solarise and blur to each image.
        color_jitter: strength of changes of brightness, contrast and saturation.
        flip: mirror half of the images.
        crop: ``random`` takes 8 to 100 % of the area and resizes it; ``simple`` resizes the shorter
            side and crops at random, with 4 pixels of reflection.
        on_device: crop, and only draw the rest: items are ``Drawn``, which a batch's
            ``PhotographAugmentation`` finishes.

    Source: DeiT III's 3-augment, as in the release of the paper.
    """
    size = cast(tuple[int, int], inputs.size)
    interpolation = _interpolation(inputs)
    steps: list[v2.Transform] = [
        v2.RandomResizedCrop(size, (0.08, 1.0), interpolation=interpolation)
    ]
    if crop == "simple":
        resize = v2.Resize(min(size), interpolation=interpolation)
        steps = [resize, v2.RandomCrop(size, padding=4, padding_mode="reflect")]
    if on_device:
        return v2.Compose([*steps, PhotographDraw(augmentation, color_jitter, flip)])
    if flip:
        steps.append(v2.RandomHorizontalFlip())
    if augmentation == "three-augment":
        one_of = [
            v2.Grayscale(3),
            v2.RandomSolarize(THRESHOLD, p=1.0),
            v2.GaussianBlur(BLUR_SIDE, SIGMAS),
        ]
        steps.append(v2.RandomChoice(one_of))
    if color_jitter:
        steps.append(v2.ColorJitter(color_jitter, color_jitter, color_jitter))
    return v2.Compose([*steps, *normalised(inputs)])


def evaluation_transform(inputs: InputFormat) -> v2.Transform:
    """Return resize of the shorter side to size / crop, centre crop and normalisation."""
    height, width = cast(tuple[int, int], inputs.size)
    resize = v2.Resize(int(min(height, width) / inputs.crop), interpolation=_interpolation(inputs))
    return v2.Compose([resize, v2.CenterCrop((height, width)), *normalised(inputs)])


def whole_transform(inputs: InputFormat) -> v2.Transform:
    """Return resize of the whole image to ``inputs.size``, without a crop, and normalisation."""
    size = cast(tuple[int, int], inputs.size)
    resize = v2.Resize(size, interpolation=_interpolation(inputs))
    return v2.Compose([resize, *normalised(inputs)])


def normalised(inputs: InputFormat) -> list[v2.Transform]:
    """Return the steps from a PIL image to a normalised tensor."""
    return [
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(inputs.mean, inputs.std),
        v2.ToPureTensor(),
    ]


def _interpolation(inputs: InputFormat) -> v2.InterpolationMode:
    return v2.InterpolationMode(inputs.interpolation)
