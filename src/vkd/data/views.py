"""Augmented views of images that are the same whenever they are fetched."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler


class Views(Dataset):
    """A number of views of each image, in rows: those of the first view, then of the second.

    Row r of N images is view r // N of image r % N. In pairs, the rows of a view come in an order
    of its own, drawn from the seed: rows 2i and 2i + 1 are a pair of images to be mixed, other
    pairs in each view. Of an odd number of images a view leaves one out.

    A view's augmentation is drawn from its own random numbers, so that a teacher's stored output
    stays true. Items are (image, label, row).

    Args:
        images: N images, whose items are (image, label, index).
        count: views of each.
        seed: of the augmentation, and of the pairs.
        in_pairs: whether images are to be mixed.
    """

    def __init__(self, images: Any, count: int, seed: int, in_pairs: bool = False) -> None:
        self.images, self.count, self.seed, self.in_pairs = images, count, seed, in_pairs

    @property
    def left_out(self) -> int:
        """Images that a view leaves out, 0 or 1."""
        return len(self.images) % 2 if self.in_pairs else 0

    @property
    def rows_per_view(self) -> int:
        """Rows of a view."""
        return len(self.images) - self.left_out

    def __len__(self) -> int:
        return self.rows_per_view * self.count

    def image_of(self, row: int) -> int:
        """Return the index of the image that a row shows."""
        view, place = divmod(row, self.rows_per_view)
        if not self.in_pairs:
            return place
        return int(paired_order(len(self.images), self.seed, view)[place])

    def __getitem__(self, row: int) -> tuple[Any, Any, int]:
        with torch.random.fork_rng(devices=[]):
            # The CPU's alone: ``torch.manual_seed`` also asks every kind of device, which costs
            # more than the augmentation of a small image.
            torch.default_generator.manual_seed(self.seed * len(self) + row)
            image, label, _ = self.images[self.image_of(row)]
        return image, label, row


@lru_cache(maxsize=2)
def paired_order(images: int, seed: int, view: int) -> np.ndarray:
    """Return the images of a view in the order of its rows, whose neighbours are pairs.

    Of the random numbers that numpy keeps as they are over its versions, as a store must.
    """
    return np.random.RandomState([seed, view]).permutation(images)


class ViewSampler(Sampler[int]):
    """The rows of one view of each image, shuffled anew in each epoch; views take turns.

    Pairs are shuffled as pairs, so that each lies whole in a batch of even size.

    Args:
        views: whose rows.
        seed: of the order.
    """

    def __init__(self, views: Views, seed: int) -> None:
        self.views, self.seed, self.epoch = views, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the view and the order of an epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.views.rows_per_view

    def __iter__(self) -> Iterator[int]:
        first = self.epoch % self.views.count * len(self)
        group = torch.arange(2 if self.views.in_pairs else 1)
        # Spread by a prime, so that the next seed's epochs are not this one's shifted.
        generator = torch.Generator().manual_seed(1_000_003 * self.seed + self.epoch)
        order = torch.randperm(len(self) // len(group), generator=generator)
        yield from (first + order[:, None] * len(group) + group).flatten().tolist()
