"""Input formats against the formulas that they replace, written out here."""

import json

import pytest
import torch
from torch.nn import functional as F

from vkd.inputs import InputAdapter, InputFormat

HALF = InputFormat((0.5,) * 3, (0.5,) * 3)
IMAGENET = InputFormat((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), (20, 24))


def column(values):
    return torch.tensor(values)[:, None, None]


def old_adapter(images, ours, theirs, size):
    """The adapter of the first release."""
    (mean, std), (their_mean, their_std) = (map(column, stats) for stats in (ours, theirs))
    images = images * (std / their_std) + (mean - their_mean) / their_std
    if size is not None and images.shape[-2:] != size:
        images = F.interpolate(images, size, mode="bicubic", antialias=True)
    return images


def old_preparation(images, mean, std, size):
    """The preparation of generated images in -1..1 of the first release."""
    if len(mean) == 1:
        images = images.mean(1, keepdim=True)
    elif images.shape[1] == 1:
        images = images.expand(-1, len(mean), -1, -1)
    if images.shape[-2:] != size:
        mode = "area" if size[0] < images.shape[-2] else "bilinear"
        images = F.interpolate(images, size, mode=mode)
    return ((images + 1) / 2 - column(mean)) / column(std)


@pytest.mark.parametrize("size", [None, (20, 24), (48, 40), (32, 32)])
def test_bicubic_equals_the_old_adapter(size):
    images = torch.randn(2, 3, 32, 32)
    target = InputFormat(IMAGENET.mean, IMAGENET.std, size)
    expected = old_adapter(images, (HALF.mean, HALF.std), (target.mean, target.std), size)
    found = InputAdapter(HALF, target)(images)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(20, 24), (48, 40), (32, 32), (20, 40)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mean", [(0.3,), (0.485, 0.456, 0.406), (0.5, 0.5, 0.5)])
def test_area_equals_the_old_preparation(size, channels, mean):
    images = torch.rand(2, channels, 32, 32) * 2 - 1
    std = (0.229,) * len(mean) if mean[0] != 0.5 else mean
    source = InputFormat((0.5,) * channels, (0.5,) * channels)
    found = InputAdapter(source, InputFormat(mean, std, size), resize="area")(images)
    expected = old_preparation(images, mean, std, size)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("resize", ["bicubic", "area"])
def test_equal_formats_are_the_identity(resize):
    images = torch.randn(2, 3, 20, 24)
    assert InputAdapter(IMAGENET, IMAGENET, resize)(images) is images
    other_size = InputFormat(IMAGENET.mean, IMAGENET.std)
    assert torch.equal(InputAdapter(IMAGENET, other_size, resize)(images), images)


def test_channels_change_in_pixels():
    pixels = torch.rand(2, 3, 4, 4)
    grey = InputFormat((0.1,), (0.3,))
    colours = (pixels - column(IMAGENET.mean)) / column(IMAGENET.std)
    expected = (pixels.mean(1, keepdim=True) - 0.1) / 0.3
    torch.testing.assert_close(InputAdapter(IMAGENET, grey)(colours), expected)
    target = InputFormat(IMAGENET.mean, IMAGENET.std)
    found = InputAdapter(grey, target)((pixels[:, :1] - 0.1) / 0.3)
    expected = (pixels[:, :1].expand(-1, 3, -1, -1) - column(target.mean)) / column(target.std)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_there_and_back_is_the_identity(channels):
    numbers = (torch.rand(4, channels) * 0.9 + 0.1).tolist()
    mean, std, other_mean, other_std = map(tuple, numbers)
    ours, theirs = InputFormat(mean, std), InputFormat(other_mean, other_std)
    images = torch.rand(1, len(mean), 3, 3)
    back = InputAdapter(theirs, ours)(InputAdapter(ours, theirs)(images))
    torch.testing.assert_close(back, images, rtol=1e-3, atol=1e-3)


def test_nothing_of_an_adapter_is_saved():
    assert not InputAdapter(HALF, IMAGENET).state_dict()


def test_formats_pass_through_json():
    for form in (HALF, IMAGENET, InputFormat((0.1,), (0.2,), (8, 9), 0.9, "bilinear")):
        assert InputFormat.from_dict(json.loads(json.dumps(form.as_dict()))) == form
    told = {"mean": [0.1], "std": [0.2], "shape": [1, 8, 9]}
    assert InputFormat.from_dict(told) == InputFormat((0.1,), (0.2,), (8, 9))
    assert IMAGENET.channels == 3


def test_formats_of_timm():
    cfg = {
        "mean": (0.5,) * 3, "std": (0.5,) * 3, "input_size": (3, 224, 192), "crop_pct": 0.9,
        "interpolation": "bilinear", "url": "",
    }  # fmt: skip
    assert InputFormat.from_pretrained_cfg(cfg) == InputFormat(
        (0.5,) * 3, (0.5,) * 3, (224, 192), 0.9, "bilinear"
    )
    assert InputFormat.from_pretrained_cfg({}) is None
    assert InputFormat.from_pretrained_cfg({"mean": None, "input_size": (3, 8, 8)}) is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: InputFormat((0.5,), (0.5, 0.5)), "found 1 and 2"),
        (lambda: InputFormat((), ()), "found 0 and 0"),
        (lambda: InputFormat((0.5,), (0.0,)), "std must be above 0"),
        (lambda: InputFormat((0.5,), (1.0,), (0, 4)), "size must be .height, width."),
        (lambda: InputFormat((0.5,), (1.0,), None, 0.0), "crop must be above 0, found 0.0"),
        (lambda: InputFormat.from_dict({"mean": [1.0]}), "needs mean and std, found mean"),
        (
            lambda: InputFormat.from_dict({"mean": [1.0], "std": [1.0], "shape": [3, 4, 4]}),
            "with 1 channels, found .3, 4, 4.",
        ),
        (lambda: InputAdapter(HALF, InputFormat((0.5,) * 4, (1.0,) * 4)), "3 channels cannot"),
        (lambda: InputAdapter(HALF, HALF, "nearest"), "found 'nearest'"),
        (lambda: InputAdapter(HALF, IMAGENET)(torch.zeros(2, 4, 8, 8)), r"\(N, 3, H, W\), found"),
        (lambda: InputAdapter(HALF, IMAGENET)(torch.zeros(3, 8, 8)), r"found \(3, 8, 8\)"),
    ],
)
def test_what_does_not_fit_is_told_in_a_sentence(make, message):
    with pytest.raises(ValueError, match=message) as error:
        make()
    assert len(str(error.value)) <= 300
