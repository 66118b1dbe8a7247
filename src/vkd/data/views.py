"""Augmented views of images that are the same whenever they are fetched."""

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import Dataset, Sampler


class Views(Dataset):
    """A number of views of each image: row r is view r // N of image r % N.

    A view's augmentation is drawn from its own random numbers, so that a
    teacher's stored output stays true. Items are (image, label, row).

    Args:
        images: N images, whose items are (image, label, index).
        count: views of each.
        seed: of the augmentation.
    """

    def __init__(self, images: Any, count: int, seed: int) -> None:
        self.images, self.count, self.seed = images, count, seed

    def __len__(self) -> int:
        return len(self.images) * self.count

    def __getitem__(self, row: int) -> tuple[Any, Any, int]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed * len(self) + row)
            image, label, _ = self.images[row % len(self.images)]
        return image, label, row


class ViewSampler(Sampler[int]):
    """The rows of one view of each image, shuffled anew in each epoch; views take turns.

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
        return len(self.views.images)

    def __iter__(self) -> Iterator[int]:
        first = self.epoch % self.views.count * len(self)
        # Spread by a prime, so that the next seed's epochs are not this one's shifted.
        generator = torch.Generator().manual_seed(1_000_003 * self.seed + self.epoch)
        yield from (first + torch.randperm(len(self), generator=generator)).tolist()
