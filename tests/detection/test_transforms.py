"""Transforms of images with boxes."""

import pytest
import torch

from support.coco import clean_split
from vkd.detection.categories import categories_of
from vkd.detection.coco import CocoImages
from vkd.detection.transforms import detection_training_transform


@pytest.mark.parametrize("augmentation", ["none", "flip", "detr"])
def test_training_transforms_keep_boxes_on_their_digits(coco, augmentation):
    folder, truth = clean_split(coco, "train")
    transform = detection_training_transform(augmentation, 128, 200)
    data = CocoImages(folder, truth, categories_of(truth), transform)
    sizes = set()
    for seed in range(40):
        torch.manual_seed(seed)
        image, target = data[seed % 8]
        sizes.add(tuple(image.shape[1:]))
        assert max(image.shape[1:]) <= 201
        assert len(target["boxes"]) == len(target["labels"])
        for x, y, w, h in target["boxes"].tolist():
            assert -1e-4 <= x - w / 2 <= x + w / 2 <= 1 + 1e-4
            height, width = image.shape[1:]
            inside = image[0, round((y - h / 2) * height) : round((y + h / 2) * height),
                           round((x - w / 2) * width) : round((x + w / 2) * width)]  # fmt: skip
            # The canvas is darker than any digit's brightest pixel.
            if w * width > 16 and h * height > 16:
                assert inside.max() > 0
    assert len(sizes) > (10 if augmentation == "detr" else 1)
