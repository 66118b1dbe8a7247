"""Augmentation on the device trains as augmentation of single images does."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from support.photographs import distilled
from vkd.api.cache import cache
from vkd.api.train import train
from vkd.errors import FieldError
from vkd.recipe import recipe
from vkd.store.rows import file_of
from vkd.training.records import read_metrics


@pytest.fixture
def small(digits_teacher):
    return recipe(
        "digits", teacher_checkpoint=str(digits_teacher), device="cpu", trackers="", epochs=2,
        warmup_epochs=0, train_fraction=0.3, crop_padding=1, flip=True,
    )  # fmt: skip


def on_device(config):
    return replace(config, augment_on_device=True)


def test_small_images_give_the_same_bits(small, tmp_path):
    train(small, tmp_path / "single", show=False)
    train(on_device(small), tmp_path / "batch", show=False)
    single, batch = (load_file(tmp_path / n / "model.safetensors") for n in ("single", "batch"))
    assert all(torch.equal(single[name], batch[name]) for name in single)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"workers": 2, "repeated_augmentation": 2, "mixup": 0.8, "channels_last": True},
    ],
)
def test_photographs_give_the_same_losses(changes, tmp_path):
    changes = distilled(tmp_path) | {
        "augmentation": "three-augment", "color_jitter": 0.3, "flip": True,
    } | changes  # fmt: skip
    config = recipe("deit-tiny-imagenet", **changes)
    train(config, tmp_path / "single", show=False)
    train(on_device(config), tmp_path / "batch", show=False)
    single, batch = (read_metrics(tmp_path / name)[0]["train"] for name in ("single", "batch"))
    assert batch == pytest.approx(single, rel=1e-3)


def test_a_store_of_one_way_is_that_of_the_other(small, tmp_path):
    cache(small, tmp_path / "single", views=2, dtype="float32", show=False)
    cache(on_device(small), tmp_path / "batch", views=2, dtype="float32", show=False)
    single, batch = (load_file(file_of(tmp_path / name, 0)) for name in ("single", "batch"))
    for name, rows in single.items():
        torch.testing.assert_close(batch[name], rows)
    losses = []
    for number, config in enumerate((small, on_device(small))):
        run = tmp_path / f"run-{number}"
        train(replace(config, teacher_store=str(tmp_path / "single")), run, show=False)
        losses.append(read_metrics(run)[-1]["train"]["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "neither crop_padding nor flip"),
        ({"objects": {"data": "Splits"}}, "data given as an object"),
    ],
)
def test_it_is_refused_where_nothing_is_augmented(changes, reason):
    with pytest.raises(FieldError, match=f"augment_on_device has no effect with {reason}"):
        recipe("digits", augment_on_device=True, **changes)
