"""Views of images are the same whenever they are asked for."""

from itertools import pairwise

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader

from support.photographs import SMALL
from vkd.data.images import Images
from vkd.data.transforms import training_transform
from vkd.data.views import Views, ViewSampler, paired_order


class Photograph(Images):
    """One picture, many times, augmented as ImageNet's are."""

    def __init__(self, count):
        pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
        self.count, self.picture = count, Image.fromarray(pixels)
        self.augment = training_transform(SMALL, "three-augment", color_jitter=0.3)

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return self.augment(self.picture), 0, index


def test_a_view_is_the_same_whenever_and_by_whomever_it_is_asked_for():
    views = Views(Photograph(4), 3, seed=5)
    first = [views[row][0] for row in range(12)]
    torch.manual_seed(99)
    state = torch.get_rng_state()
    for row in reversed(range(12)):
        assert torch.equal(views[row][0], first[row])
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(torch.equal(a, b) for a, b in pairwise(first))
    loaded = torch.cat([images for images, _, _ in DataLoader(views, 5, num_workers=1)])
    assert torch.equal(loaded, torch.stack(first))
    assert not torch.equal(Views(Photograph(4), 3, seed=6)[0][0], first[0])


def test_a_view_is_drawn_as_by_torchs_seed_which_no_device_is_asked_for(monkeypatch):
    views = Views(Photograph(4), 3, seed=5)
    expected = []
    for row in range(12):
        torch.manual_seed(5 * 12 + row)
        expected.append(views.images[row % 4][0])
    # Without a GPU each call would note the whole stack for every kind of device.
    monkeypatch.setattr(torch.cuda, "manual_seed_all", None)
    for row in range(12):
        assert torch.equal(views[row][0], expected[row])


def test_an_epoch_shows_each_image_once_in_its_view():
    views = Views(Photograph(7), 3, seed=0)
    sampler, orders = ViewSampler(views, seed=1), []
    for epoch in range(6):
        sampler.set_epoch(epoch)
        rows = list(sampler)
        assert len(sampler) == len(rows) == 7
        assert sorted(row % 7 for row in rows) == list(range(7))
        assert {row // 7 for row in rows} == {epoch % 3}
        assert rows == list(sampler)
        orders.append([row % 7 for row in rows])
    assert orders[0] != orders[3]


@given(st.integers(2, 30), st.integers(1, 4), st.integers(0, 2**32 - 1), st.integers(0, 9))
def test_each_view_pairs_every_image_but_one_of_an_odd_number(count, views, seed, epoch):
    paired = Views(Images(torch.zeros(count, 1), torch.zeros(count)), views, seed, in_pairs=True)
    size = count - count % 2
    assert (paired.rows_per_view, paired.left_out, len(paired)) == (size, count % 2, size * views)
    sampler = ViewSampler(paired, seed)
    sampler.set_epoch(epoch)
    rows = list(sampler)
    assert sorted(rows) == [size * (epoch % views) + place for place in range(size)]
    assert all(second == first + 1 for first, second in zip(rows[0::2], rows[1::2], strict=True))
    assert all(first % 2 == 0 for first in rows[0::2])
    images = [paired.image_of(row) for row in rows]
    assert len(set(images)) == size
    assert set(images) <= set(range(count))


def test_pairs_differ_between_views_and_seeds():
    def partners(seed, view):
        paired = Views(Images(torch.zeros(40, 1), torch.zeros(40)), 2, seed, in_pairs=True)
        order = [paired.image_of(40 * view + place) for place in range(40)]
        return {frozenset(pair) for pair in zip(order[0::2], order[1::2], strict=True)}

    assert len(partners(0, 0) & partners(0, 1)) < 5
    assert len(partners(0, 0) & partners(1, 0)) < 5
    assert partners(0, 0) == partners(0, 0)


def test_the_order_of_pairs_is_what_it_was_when_stores_were_written():
    """A store is useless once another order is drawn."""
    assert paired_order(8, 3, 1).tolist() == [1, 3, 6, 0, 7, 2, 4, 5]
