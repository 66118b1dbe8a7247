"""Augmentation of batches is that of single images, by the same random numbers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import default_collate
from torchvision.transforms import v2

from vkd.data.batch_augmentation import PhotographAugmentation, SmallAugmentation
from vkd.data.draws import BLURRED, PHOTOGRAPH_COLUMNS, SmallDraw
from vkd.data.transforms import IMAGENET, training_transform

INPUTS = replace(IMAGENET, size=(32, 40))
MEAN, STD = (torch.tensor(part)[:, None, None] for part in (INPUTS.mean, INPUTS.std))


def picture(seed, size=(60, 50)):
    pixels = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


def both_ways(pictures, seed, *settings):
    """The pictures by torchvision on Pillow's images, one by one, and as one batch; the draws."""
    single = training_transform(INPUTS, *settings)
    drawn = training_transform(INPUTS, *settings, on_device=True)
    expected, halves = [], []
    for place, one in enumerate(pictures):
        torch.manual_seed(seed + place)
        expected.append(single(one))
        after = torch.rand(1)
        torch.manual_seed(seed + place)
        halves.append(drawn(one))
        assert torch.rand(1) == after  # as many random numbers were drawn
    batch = default_collate(halves)
    assert batch.pixels.dtype == torch.uint8
    return torch.stack(expected), PhotographAugmentation(INPUTS, *settings[:2])(batch), batch.draws


def levels(images):
    """Normalised images as levels of 255."""
    return (images * STD + MEAN) * 255


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    augmentation=st.sampled_from(["none", "three-augment"]),
    jitter=st.sampled_from([0.0, 0.3, 0.9, 1.7]),
    flip=st.booleans(),
    crop=st.sampled_from(["random", "simple"]),
)
def test_photographs_are_those_of_torchvision(seed, augmentation, jitter, flip, crop):
    pictures = [picture(seed + place) for place in range(6)]
    expected, found, draws = both_ways(pictures, seed, augmentation, jitter, flip, crop)
    assert found.dtype == torch.float32
    gaps = (levels(found) - levels(expected)).abs().amax((1, 2, 3))
    is_blurred = draws[:, PHOTOGRAPH_COLUMNS.index("kind")] == BLURRED
    assert (gaps * ~is_blurred).max() < 0.01
    # Of a blurred image a level is rounded otherwise, which factors of up to 1 + jitter enlarge.
    assert gaps.max() < 1.01 * (1 + jitter) ** 3 + (2 if jitter else 0)


def test_a_blur_is_rounded_otherwise_in_few_pixels():
    pictures = [picture(place) for place in range(60)]
    expected, found, draws = both_ways(pictures, 0, "three-augment", 0.0, True, "random")
    assert (draws[:, 1] == BLURRED).sum() > 10
    gaps = (levels(found) - levels(expected)).abs()
    assert gaps.max() < 1.01
    assert (gaps > 0.01).float().mean() < 1e-4


def test_each_image_of_a_batch_is_changed_by_its_own_draws():
    """Shares of 600 equal pictures, told by their pixels alone, within 4 deviations."""
    pixels = np.zeros((32, 40, 3), dtype=np.uint8)
    pixels[:, :10] = (200, 100, 20)  # left, bright and coloured; the edges tell a blur
    drawn = training_transform(INPUTS, "three-augment", 0.0, True, "simple", on_device=True)
    torch.manual_seed(0)
    one = Image.fromarray(pixels)
    batch = default_collate([drawn(one) for _ in range(600)])
    # The random crop moves the picture by up to 4 pixels; the middle rows tell all that is asked.
    whole = batch._replace(pixels=torch.from_numpy(pixels).permute(2, 0, 1).expand(600, -1, -1, -1))
    found = levels(PhotographAugmentation(INPUTS, "three-augment", 0.0)(whole)).round()
    row = found[:, :, 16]
    shares = {
        "grey": (row[:, 0] == row[:, 1]).all(1).float().mean(),
        "solarised": (row.amax((1, 2)) == 100).float().mean(),
    }
    is_mirrored = (row[:, :, -5:].mean((1, 2)) > row[:, :, :5].mean((1, 2))).float().mean()
    for share in shares.values():
        assert abs(share - 1 / 3) < 4 * (2 / 9 / 600) ** 0.5
    assert abs(is_mirrored - 1 / 2) < 4 * (1 / 4 / 600) ** 0.5


@pytest.mark.parametrize(("padding", "flip"), [(0, True), (2, False), (3, True)])
def test_small_images_are_those_of_torchvision_to_the_bit(padding, flip):
    images = torch.randn(50, 1, 8, 10, generator=torch.Generator().manual_seed(0))
    steps = [v2.RandomCrop((8, 10), padding=padding, fill=-0.7)] if padding else []
    single = v2.Compose(steps + ([v2.RandomHorizontalFlip()] if flip else []))
    draw = SmallDraw((8, 10), padding, flip)
    torch.manual_seed(0)
    expected = torch.stack([single(image) for image in images])
    after = torch.rand(1)
    torch.manual_seed(0)
    batch = default_collate([draw(image) for image in images])
    assert torch.rand(1) == after
    assert torch.equal(SmallAugmentation(padding, -0.7)(batch), expected)
    assert not torch.equal(expected, images)


def batches():
    torch.manual_seed(0)
    drawn = training_transform(INPUTS, "three-augment", 0.3, on_device=True)
    photographs = default_collate([drawn(picture(place)) for place in range(4)])
    small = default_collate([SmallDraw((8, 8), 2, True)(torch.rand(1, 8, 8)) for _ in range(4)])
    return [
        (PhotographAugmentation(INPUTS, "three-augment", 0.3), photographs),
        (SmallAugmentation(2, 0.0), small),
    ]


@pytest.mark.parametrize("which", [0, 1])
def test_nothing_is_read_and_no_shape_depends_on_what_was_drawn(which):
    augmentation, batch = batches()[which]
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        augmentation(batch)
    called = {event.key for event in profiler.key_averages()}
    reading = {"aten::_local_scalar_dense", "aten::item", "aten::nonzero", "aten::masked_select"}
    assert "aten::where" in called
    assert not called & reading
    # A tensor without values has none to read.
    bare = augmentation.to("meta").finished(*(part.to("meta") for part in batch))
    assert bare.shape == batch.pixels.shape


@pytest.mark.parametrize("which", [0, 1])
def test_mixed_precision_leaves_augmentation_alone(which):
    augmentation, batch = batches()[which]
    expected = augmentation(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(augmentation(batch), expected)


def test_a_state_holds_nothing_of_augmentation():
    assert not PhotographAugmentation(INPUTS, "three-augment", 0.3).state_dict()
