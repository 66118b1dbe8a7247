"""CIFAR-100 in its binary version, made as its authors describe it."""

import numpy as np
import pytest

from vkd.data.photographs import read_photographs
from vkd.data.sources import PhotographSource
from vkd.data.transforms import whole_transform
from vkd.errors import UserError
from vkd.inputs import InputFormat

FORMAT = InputFormat((0.0,) * 3, (1.0,) * 3, (32, 32))


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path, images):
    place = tmp_path / "cifar-100-binary"
    place.mkdir()
    for name, part in (("train.bin", images), ("test.bin", images[:6])):
        with (place / name).open("wb") as file:
            for number, image in enumerate(part):
                file.write(bytes([number % 2, number % 5]) + image.transpose(2, 0, 1).tobytes())
    (place / "fine_label_names.txt").write_text("apple\nbear\ncan\ndolphin\nelephant\n")
    return tmp_path


def read(folder):
    source = PhotographSource("cifar100", str(folder), validation_fraction=0.25)
    return read_photographs(source, whole_transform(FORMAT), whole_transform(FORMAT))


def test_pixels_and_labels_are_those_of_the_records(folder, images):
    parts = read(folder)
    assert parts.classes == ["apple", "bear", "can", "dolphin", "elephant"]
    for index in range(len(parts.test)):
        image, label, _ = parts.test[index]
        assert label == index % 5
        pixels = (image * 255).round().byte().permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(pixels, images[index])


def test_a_share_of_training_validates_and_the_test_split_never_does(folder):
    parts = read(folder)
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (15, 5, 6)


def test_damaged_files_are_refused_by_name(folder):
    place = folder / "cifar-100-binary"
    (place / "fine_label_names.txt").write_text("apple\nbear\n")
    with pytest.raises(UserError, match=r"train.bin has the class 4, and .* 2 names"):
        read(folder)
    (place / "train.bin").write_bytes(b"short")
    with pytest.raises(UserError, match="expected a multiple of 3,074"):
        read(folder)
