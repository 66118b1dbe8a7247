"""Samples of training have the names of their files, or numbers."""

from types import SimpleNamespace

import torch
from torch.utils.data import Subset

from vkd.data.images import Images
from vkd.data.sample_names import sample_names
from vkd.data.views import Views

IMAGES = Images(torch.zeros(6, 1, 2, 2), torch.zeros(6, dtype=torch.int64))
FILES = {"train": SimpleNamespace(filename=lambda place: f"cat/{place}.jpg")}


def test_pictures_have_their_files_and_others_their_numbers():
    assert sample_names([2, 0], {}, IMAGES) == ["image 2", "image 0"]
    assert sample_names([2, 0], FILES, IMAGES) == ["cat/2.jpg", "cat/0.jpg"]


def test_a_row_of_a_view_is_its_image():
    views = Views(IMAGES, 2, seed=0)
    assert sample_names([1, 7], FILES, views) == ["cat/1.jpg", "cat/1.jpg"]
    pairs = Views(IMAGES, 2, seed=0, in_pairs=True)
    names = sample_names(range(6), FILES, pairs)
    assert names == [f"cat/{pairs.image_of(row)}.jpg" for row in range(6)]
    assert sorted(names) == sorted(f"cat/{place}.jpg" for place in range(6))


def test_views_of_a_share_are_named_as_in_the_whole():
    assert sample_names([0, 3], {}, Views(Subset(IMAGES, [2, 5]), 2, seed=0)) == [
        "image 2", "image 5",
    ]  # fmt: skip
