"""Crops of pictures that are decoded no larger than they need, against Pillow and torchvision."""

from io import BytesIO
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import sklearn
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms
from PIL.ExifTags import Base
from torchvision.transforms import v2

from vkd.data.crops import RandomPart, WholeResized, resized_part
from vkd.data.photographs import Photographs
from vkd.data.pictures import open_picture, opened_picture
from vkd.data.transforms import IMAGENET, training_changes, training_crop, training_transform
from vkd.errors import UserError

# The photographs that packages bring.
PHOTOGRAPHS = {
    "temple": Path(sklearn.__file__).parent / "datasets/images/china.jpg",
    "flower": Path(sklearn.__file__).parent / "datasets/images/flower.jpg",
    "portrait": Path(matplotlib.__file__).parent / "mpl-data/sample_data/grace_hopper.jpg",
}
BICUBIC = v2.InterpolationMode.BICUBIC


def jpeg(image, **options):
    """A JPEG file's bytes."""
    stream = BytesIO()
    image.save(stream, "JPEG", **({"quality": 92} | options))
    return stream.getvalue()


def large(name, side=2000):
    """A photograph repeated, so that it is large and full of details, as a phone's is."""
    pixels = np.asarray(Image.open(PHOTOGRAPHS[name]).convert("RGB"))
    return Image.fromarray(np.tile(pixels, (5, 5, 1))[: side * 3 // 4, :side])


def fast(content, crop, seed):
    torch.manual_seed(seed)
    with opened_picture(BytesIO(content), name="a") as picture:
        return crop(picture).permute(1, 2, 0).numpy().astype(int)


def exact(content, transform, seed):
    torch.manual_seed(seed)
    return np.asarray(transform(open_picture(BytesIO(content), name="a"))).astype(int)


def pair(size, interpolation=BICUBIC):
    """Our random crop and torchvision's."""
    area = (0.08, 1.0)
    ours = RandomPart(size, area, interpolation.value)
    return ours, v2.RandomResizedCrop(size, area, interpolation=interpolation)


@pytest.mark.parametrize("name", PHOTOGRAPHS)
@pytest.mark.parametrize("is_large", [False, True])
@pytest.mark.parametrize("augmentation", [(), ("three-augment", 0.3)])
def test_what_a_network_sees_differs_by_less_than_one_of_255_in_the_mean(
    name, is_large, augmentation
):
    content = jpeg(large(name)) if is_large else PHOTOGRAPHS[name].read_bytes()
    crop, rest = training_crop(IMAGENET), training_changes(IMAGENET, *augmentation)
    whole = training_transform(IMAGENET, *augmentation)
    for seed in range(8):
        torch.manual_seed(seed)
        with opened_picture(BytesIO(content), name="a") as picture:
            found = rest(crop(picture))
        after = torch.get_rng_state()
        torch.manual_seed(seed)
        expected = whole(open_picture(BytesIO(content), name="a"))
        # The same random numbers, and so the same crop, flip and all that comes later.
        assert torch.equal(torch.get_rng_state(), after)
        std = torch.tensor(IMAGENET.std)[:, None, None]
        levels = (found - expected).abs() * std * 255
        assert levels.mean() < 1
        assert levels.max() < 64


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_the_whole_picture_is_resized_to_the_size_that_torchvision_gives_it(name):
    for content in (PHOTOGRAPHS[name].read_bytes(), jpeg(large(name, 1999))):
        found = fast(content, WholeResized(192, "bicubic"), 0)
        expected = exact(content, v2.Resize(192, interpolation=BICUBIC), 0)
        assert found.shape == expected.shape
        assert np.abs(found - expected).mean() < 1


def waves(width, height):
    """Waves in both directions, on which a shift by a pixel shows."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    parts = [np.sin(x / 40), np.cos(y / 40), np.sin((x + y) / 60)]
    return Image.fromarray((127 + 120 * np.stack(parts, -1)).astype(np.uint8))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(1280, 960), (1281, 963), (1276, 964)])
@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_crops_of_turned_pictures_lie_where_they_should(size, orientation, options):
    exif = Image.Exif()
    exif[Base.Orientation] = orientation
    content = jpeg(waves(*size), exif=exif, **options)
    ours, theirs = pair((64, 48))
    for seed in range(4):
        found, expected = fast(content, ours, seed), exact(content, theirs, seed)
        assert np.abs(found - expected).max() <= 4


def odd_pictures():
    """Files that are no plain JPEG of colours, by what they are."""
    photograph = Image.open(PHOTOGRAPHS["flower"]).convert("RGB")
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    deep = (np.asarray(photograph.convert("L")).astype(np.uint16)) * 257
    turned = Image.Exif()
    turned[Base.Orientation] = 6
    frames = [photograph.rotate(180)]
    palette = photograph.convert("P", palette=Image.Palette.ADAPTIVE)
    return {
        "CMYK": (photograph.convert("CMYK"), "JPEG", {}),
        "grey": (photograph.convert("L"), "JPEG", {}),
        "several pictures": (photograph, "MPO", {"save_all": True, "append_images": frames}),
        "palette": (palette, "PNG", {"transparency": 3}),
        "16 bits": (Image.fromarray(deep), "PNG", {}),
        "turned PNG": (photograph, "PNG", {"exif": turned}),
        "turned TIFF": (photograph, "TIFF", {"exif": turned}),
        "animation": (photograph, "GIF", {"save_all": True, "append_images": frames}),
        "WebP": (photograph, "WEBP", {}),
        "Lab": (ImageCms.profileToProfile(photograph, *profiles, outputMode="LAB"), "TIFF", {}),
        "transparent": (photograph.convert("RGBA"), "PNG", {}),
    }


ODD = odd_pictures()


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("is_by_torch", [False, True])
def test_other_pictures_are_read_as_before(kind, is_by_torch, monkeypatch):
    image, suffix, options = ODD[kind]
    stream = BytesIO()
    image.save(stream, suffix, **options)
    processor = "AVX2" if is_by_torch else "DEFAULT"
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: processor)
    ours, theirs = pair((224, 224))
    for seed in range(2):
        found = fast(stream.getvalue(), ours, seed)
        expected = exact(stream.getvalue(), theirs, seed)
        if is_by_torch:
            assert np.abs(found - expected).mean() < 0.5
        else:
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic", "lanczos", "hamming", "box"])
def test_every_way_to_resize_is_torchvisions(mode):
    content = PHOTOGRAPHS["flower"].read_bytes()
    ours, theirs = pair((96, 96), v2.InterpolationMode(mode))
    assert np.abs(fast(content, ours, 3) - exact(content, theirs, 3)).mean() < 0.5


class Recorded:
    """Stands for an opened picture and keeps what it is shrunk by."""

    shrinks = (2, 4, 8)

    def __init__(self, width, height):
        self.size, self.shrink = (width, height), 0

    def decoded(self, shrink=1):
        self.shrink = shrink
        return Image.new("L", tuple(-(-side // shrink) for side in self.size))


@given(st.data())
def test_a_crop_keeps_twice_the_pixels_that_are_wanted(data):
    width, height = (data.draw(st.integers(1, 3000), label) for label in ("width", "height"))
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    w, h = data.draw(st.integers(1, width - left)), data.draw(st.integers(1, height - top))
    size = data.draw(st.integers(1, 300)), data.draw(st.integers(1, 300))
    picture = Recorded(width, height)
    found = resized_part(picture, (left, top, w, h), size, "bicubic")
    assert found.shape == (1, *size)

    def is_enough(shrink):
        return w / shrink >= 2 * size[1] and h / shrink >= 2 * size[0]

    assert picture.shrink == max([s for s in (2, 4, 8) if is_enough(s)], default=1)


class Files:
    """A reader of files of one class."""

    source, classes, notes = "here", ["a"], ()

    def __init__(self, contents):
        self.contents, self.labels = contents, np.zeros(len(contents), np.int64)

    def __len__(self):
        return len(self.contents)

    def __getitem__(self, index):
        return BytesIO(self.contents[index]), 0

    def filename(self, index):
        return f"picture {index}"


def test_a_damaged_picture_is_counted_and_draws_no_random_numbers(caplog):
    content = jpeg(large("temple"))
    crop, rest = training_crop(IMAGENET), training_changes(IMAGENET)
    damaged = Photographs(Files([content[: len(content) // 2], content]), rest, True, 5, crop)
    torch.manual_seed(4)
    image, _, place = damaged[0]
    assert (place, damaged.skipped) == (1, 1)
    assert "picture 0" in caplog.text
    torch.manual_seed(4)
    assert torch.equal(image, damaged[1][0])
    with (
        pytest.raises(UserError, match="truncated"),
        opened_picture(BytesIO(content[:-5000]), name="a") as picture,
    ):
        picture.decoded(8)
