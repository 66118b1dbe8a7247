"""Data sets in ImageNet's layout, of real digits."""

from dataclasses import replace
from itertools import count

import numpy as np
import timm
import torch
from PIL import Image
from sklearn.datasets import load_digits

from vkd.data.photographs import read_photographs
from vkd.data.sources import PhotographSource
from vkd.data.transforms import IMAGENET, evaluation_transform, training_transform

CLASSES, PER_CLASS = 3, 8
_SEEDS = count()
SMALL = replace(IMAGENET, size=(32, 32))


def write_folder(folder, per_class=PER_CLASS, odd=0):
    """Digits of three classes as JPEG files in train/ and val/; val has ``odd`` images more."""
    digits = load_digits()
    for label in range(CLASSES):
        images = digits.images[digits.target == label]
        for split, start, many in (
            ("train", 0, per_class),
            ("val", per_class, per_class + (odd if label == 0 else 0)),
        ):
            place = folder / split / f"n{label:02d}"
            place.mkdir(parents=True)
            for index, image in enumerate(images[start : start + many]):
                pixels = (image / 16 * 255).astype(np.uint8).repeat(5, 0).repeat(5, 1)
                Image.fromarray(pixels).convert("RGB").save(place / f"{index}.JPEG")
    return folder


def parts(folder, kind="folder", **kwargs):
    """Training and validation part of such a folder, at 32 x 32, and the classes."""
    transforms = training_transform(SMALL), evaluation_transform(SMALL)
    found = read_photographs(PhotographSource(kind, str(folder), **kwargs), *transforms)
    return found.train, found.validation, found.classes


def distilled(folder):
    """Write photographs and a teacher's weights; return a recipe's changes that train on these."""
    write_folder(folder / "data")
    write_teacher(folder)
    return {
        "data_path": str(folder / "data"), "input_size": 32, "student": "test_vit",
        "student_layer": "norm", "teacher": "resnet10t", "teacher_layer": "layer4",
        "teacher_checkpoint": str(folder / "teacher.pth"), "epochs": 1, "warmup_epochs": 0,
        "batch_size": 8, "device": "cpu", "trackers": "", "workers": 0, "mixup": 0.0, "cutmix": 0.0,
        "repeated_augmentation": 1, "mixed_precision": "no", "drop_path": 0.0,
    }  # fmt: skip


def write_teacher(folder):
    """Write the weights of a teacher that was never trained, other ones at each call."""
    torch.manual_seed(next(_SEEDS))
    network = timm.create_model("resnet10t", num_classes=CLASSES)
    torch.save(network.state_dict(), folder / "teacher.pth")
