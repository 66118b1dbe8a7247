"""Transforms of photographs."""

import torch
from PIL import Image

from support.photographs import SMALL
from vkd.data.transforms import evaluation_transform


def test_evaluation_prepares_images_as_timm_does(photographs):
    from timm.data import create_transform

    theirs = create_transform(32, is_training=False, interpolation="bicubic", crop_pct=0.875)
    with Image.open(photographs / "val" / "n01" / "3.JPEG") as image:
        image = image.convert("RGB")
        torch.testing.assert_close(evaluation_transform(SMALL)(image), theirs(image))
