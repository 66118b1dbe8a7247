"""Training data of which one sample is no finite number, for every task with a small recipe."""

from contextlib import contextmanager

import torch

from support.canvases import few_canvases
from support.gan import small_gan
from vkd.classification.data import read_splits, student_format
from vkd.detection.coco import CocoImages
from vkd.generation.data import read_splits as read_generation_splits
from vkd.recipe import recipe

_CANVASES = 16
SHORT = {
    "epochs": 2, "warmup_epochs": 0, "device": "cpu", "trackers": "", "log_every": 1,
    "evaluate_every": 2, "checkpoint_every": 1,
}  # fmt: skip


def spoilt_images(index=5):
    """Digits, a quarter of them, one of which is nan."""
    config = recipe("digits", train_fraction=0.25)
    splits = read_splits(config, student_format(config))
    splits.train.images[index] = torch.nan
    return splits


def classification(teacher, **changes):
    """A student of digits, alone."""
    alone = {"method": "none", "feature_weight": 0.0, "teacher": ""}
    return recipe("digits", **(SHORT | alone | changes)), {"data": spoilt_images()}


def embedding(teacher, **changes):
    """A student of features, with a teacher."""
    own = {"teacher_checkpoint": str(teacher)}
    splits = spoilt_images()
    splits.constant = None
    return recipe("digits-embedding", **(SHORT | own | changes)), {"data": splits}


def generation(teacher, **changes):
    """A small GAN with a teacher."""
    networks = {"teacher_checkpoint": str(teacher), "extractor_checkpoint": str(teacher)}
    own = {
        "rollbacks": 0,
        "samples": 100,
        "evaluate_every": 2,
        "log_every": 1,
        "whitening": "batch",
    }
    config = small_gan(**(networks | own | changes))
    splits = read_generation_splits(config)
    splits.train.dataset.images[int(splits.indices[5])] = torch.nan
    return config, {"data": splits}


def detection(teacher, **changes):
    """A small detector, alone."""
    alone = {"method": "none", "feature_weight": 0.0, "teacher": "", "batch_size": 4}
    return recipe("digits-detection", **(SHORT | alone | changes)), {}


TASKS = {
    "classification": classification, "embedding": embedding, "generation": generation,
    "detection": detection,
}  # fmt: skip


@contextmanager
def spoilt_canvas(monkeypatch, index=5):
    """Few canvases for detection, one of which is nan where it is trained on."""
    original = CocoImages.__getitem__

    def item(images, place):
        tensor, target = original(images, place)
        is_training = len(images.ids) == _CANVASES
        return tensor * torch.nan if place == index and is_training else tensor, target

    with few_canvases(_CANVASES, 8, 8), monkeypatch.context() as patch:
        patch.setattr(CocoImages, "__getitem__", item)
        yield
