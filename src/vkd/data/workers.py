"""Processes that load data: how many, and random numbers that a resumed run draws again."""

import random
from collections.abc import Sized
from typing import Any, cast

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from vkd.notes import say

_LARGEST_SEED = 2**31


class Reseeded(Dataset):
    """Items of a data set, for which workers draw other random numbers after each ``reseed``.

    Workers outlive an epoch, and torch seeds them when they start. Seeded but then, those of a run
    that is resumed would draw other numbers than those of one that was never interrupted.

    Args:
        items: any data set with random access.
    """

    def __init__(self, items: Any) -> None:
        self.items = items
        self._seed = torch.zeros((), dtype=torch.int64).share_memory_()
        self._known = 0

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        self._follow()
        return self.items[index]

    def __getitems__(self, indices: list[int]) -> Any:
        self._follow()
        # As torch's own fetcher asks.
        if callable(fetch := getattr(self.items, "__getitems__", None)):
            return fetch(indices)
        return [self.items[index] for index in indices]

    def reseed(self) -> None:
        """Draw a new seed from this process's random numbers, before the workers begin an epoch."""
        self._seed.fill_(torch.randint(1, _LARGEST_SEED, ()))

    def _follow(self) -> None:
        worker, seed = get_worker_info(), int(self._seed)
        if worker is None or seed == self._known:
            return
        self._known = seed
        torch.manual_seed(seed + worker.id)
        random.seed(seed + worker.id)
        np.random.seed(seed + worker.id)


def loader_of(
    images: Dataset,
    batch_size: int,
    *,
    workers: int,
    rows: int | None = None,
    pin_memory: bool = True,
    **options: Any,
) -> DataLoader:
    """Return torch's loader, with workers that live from epoch to epoch.

    Args:
        images: any data set with random access.
        batch_size: images of a batch.
        workers: processes that load data, of which no more are started than there are batches.
        rows: images of an epoch, where they are not all.
        pin_memory: pin memory where there is CUDA.
        **options: further ones of ``DataLoader``; where batches are shuffled, fewer workers are
            said.
    """
    count = len(cast(Sized, images)) if rows is None else rows
    batches = -(-count // batch_size)
    started = min(workers, batches)
    if started < workers and options.get("drop_last"):
        say("workers", [f"{started} of {workers} are started, as an epoch has {batches} batches"])
    if started:
        # Of their own, so that starting workers takes no number of this process's.
        own = torch.Generator().manual_seed(torch.initial_seed())
        options |= {"generator": own, "persistent_workers": True, "num_workers": started}
        images = Reseeded(images)
    return DataLoader(
        images, batch_size, pin_memory=pin_memory and torch.cuda.is_available(), **options
    )
