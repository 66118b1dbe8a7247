"""Transforms of photographs: the DeiT recipe's for training, resize and crop for evaluation."""

from typing import cast

import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torchvision import tv_tensors
from torchvision.transforms import v2

from vkd.data.crops import Crop, RandomPart, WholeResized
from vkd.data.draws import BLUR_SIDE, SIGMAS, THRESHOLD, PhotographDraw
from vkd.inputs import InputFormat

# How the networks of the paper, and most others, take photographs.
IMAGENET = InputFormat(
    IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, (224, 224), crop=0.875, interpolation="bicubic"
)

# Smallest and largest share of a picture's area that a random crop takes.
CROP_AREA = (0.08, 1.0)


def training_transform(
    inputs: InputFormat,
    augmentation: str = "none",
    color_jitter: float = 0.0,
    flip: bool = True,
    crop: str = "random",
    on_device: bool = False,
) -> v2.Transform:
    """Return a crop, flip and colour changes of whole pictures.

    Args:
        inputs: size, normalisation and interpolation of the result.
        augmentation, color_jitter, flip: see ``training_changes``.
        crop: ``random`` takes 8 to 100 % of the area and resizes it; ``simple`` resizes the shorter
            side and crops at random, with 4 pixels of reflection.
        on_device: crop, and only draw the rest: items are ``Drawn``, which a batch's
            ``PhotographAugmentation`` finishes.

    Source: DeiT III's 3-augment, as in the release of the paper.
    """
    size = cast(tuple[int, int], inputs.size)
    interpolation = _interpolation(inputs)
    first: v2.Transform = v2.RandomResizedCrop(size, CROP_AREA, interpolation=interpolation)
    if crop == "simple":
        first = v2.Resize(min(size), interpolation=interpolation)
    changes = training_changes(inputs, augmentation, color_jitter, flip, crop, on_device)
    return v2.Compose([first, changes])


def training_crop(inputs: InputFormat, crop: str = "random") -> Crop:
    """Return the first step of ``training_transform``, for pictures that are not decoded yet."""
    size = cast(tuple[int, int], inputs.size)
    if crop == "simple":
        return WholeResized(min(size), inputs.interpolation)
    return RandomPart(size, CROP_AREA, inputs.interpolation)


def training_changes(
    inputs: InputFormat,
    augmentation: str = "none",
    color_jitter: float = 0.0,
    flip: bool = True,
    crop: str = "random",
    on_device: bool = False,
) -> v2.Transform:
    """Return what follows on the first step of ``training_transform``.

    Args:
        inputs: size and normalisation of the result.
        augmentation: ``three-augment`` applies one of grey, solarise and blur to each image.
        color_jitter: strength of changes of brightness, contrast and saturation.
        flip: mirror half of the training images.
        crop, on_device: see ``training_transform``.
    """
    size = cast(tuple[int, int], inputs.size)
    steps: list[v2.Transform] = []
    if crop == "simple":
        steps.append(v2.RandomCrop(size, padding=4, padding_mode="reflect"))
    if on_device:
        return v2.Compose([*steps, PhotographDraw(augmentation, color_jitter, flip)])
    if flip:
        steps.append(v2.RandomHorizontalFlip())
    if augmentation != "none" or color_jitter:
        steps.append(v2.ToPILImage())  # whose colours are rounded, where torch cuts them off
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


def prediction_transform(inputs: InputFormat) -> v2.Transform:
    """Return how a picture file becomes an input: cropped if the format has a crop, else whole."""
    return evaluation_transform(inputs) if inputs.crop < 1 else whole_transform(inputs)


def normalised(inputs: InputFormat) -> list[v2.Transform]:
    """Return the steps from a PIL image to a normalised tensor."""
    return [
        v2.ToImage(),
        v2.Lambda(_by_channel, tv_tensors.Image),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(inputs.mean, inputs.std),
        v2.ToPureTensor(),
    ]


def _by_channel(image: tv_tensors.Image) -> tv_tensors.Image:
    """The same image, laid out as the arithmetic that follows is 6 times as fast on."""
    return tv_tensors.wrap(image.contiguous(), like=image)


def _interpolation(inputs: InputFormat) -> v2.InterpolationMode:
    return v2.InterpolationMode(inputs.interpolation)
