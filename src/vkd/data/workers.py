"""Batches of a data set, whose random numbers no number of loading processes changes."""

import atexit
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from functools import cache, partial
from typing import Any, cast

import numpy as np
import torch
from accelerate.data_loader import DataLoaderAdapter
from torch import multiprocessing
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from vkd.notes import say

# What a worker that was told to end waits for its parent, which may still need batches.
_SECONDS_AFTER_SIGTERM = 20


class SeededItems(Dataset):
    """Items of a data set, each drawn from random numbers of its own.

    An item depends on the seed, the epoch and its index: not on the process that fetches it, nor on
    what was fetched before it. The random numbers of the process that trains stay untouched. So a
    run may be resumed at any batch, with more or fewer workers, and is the same.

    Items that a data set fetches as a batch are drawn together, by the first one's index. Of N
    items the index N + i is item i, drawn anew.

    Args:
        items: any data set with random access.
    """

    def __init__(self, items: Any) -> None:
        self.items = items
        # Shared, as workers outlive an epoch.
        self._epoch = torch.zeros(2, dtype=torch.int64).share_memory_()

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        with _untouched():
            return self._drawn(index)

    def __getitems__(self, indices: list[int]) -> Any:
        with _untouched():
            # As torch's own fetcher asks.
            if callable(fetch := getattr(self.items, "__getitems__", None)):
                self._seed(indices[0])
                return fetch([index % len(self) for index in indices])
            return [self._drawn(index) for index in indices]

    def draw(self, seed: int, epoch: int) -> None:
        """Set what is drawn from now on; call it before an epoch's first batch is asked for."""
        self._epoch.copy_(torch.tensor([seed, epoch]))

    def _drawn(self, index: int) -> Any:
        self._seed(index)
        return self.items[index % len(self)]

    def _seed(self, index: int) -> None:
        seed, epoch = self._epoch.tolist()
        # NumPy's own way to make unlike seeds of numbers that are alike.
        own = int(np.random.SeedSequence((seed, epoch, index)).generate_state(1)[0])
        torch.default_generator.manual_seed(own)
        random.seed(own)
        np.random.seed(own)


class Repeats(Sampler[int]):
    """The indices of a sampler that gives some several times, which then are drawn anew.

    Args:
        sampler: has ``set_epoch``.
        count: items of the data set.
    """

    def __init__(self, sampler: Any, count: int) -> None:
        self.sampler, self.count = sampler, count

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch."""
        self.sampler.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[int]:
        times: Counter[int] = Counter()
        for index in self.sampler:
            yield index + times[index] * self.count
            times[index] += 1


def end_workers(loader: Any) -> None:
    """End the processes that load data for a loader, if it has any; they start again when asked.

    torch ends them itself when it deletes their iterator; but of one in a reference cycle, as
    every traceback makes, the queues are closed first, and torch waits in vain for 5 s.
    """
    own = loader.base_dataloader if isinstance(loader, DataLoaderAdapter) else loader
    if isinstance(own, DataLoader) and isinstance(own._iterator, _MultiProcessingDataLoaderIter):
        own._iterator._shutdown_workers()
        own._iterator = None


@contextmanager
def _untouched() -> Iterator[None]:
    """Give the training process its random numbers back; a worker has no use for them."""
    if get_worker_info() is not None:
        yield
        return
    own, numpys, torchs = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(own)
        np.random.set_state(numpys)
        torch.set_rng_state(torchs)


@cache
def _ending() -> torch.Tensor:
    """Return whether this process is ending, which its workers see too."""
    is_ending = torch.zeros((), dtype=torch.bool).share_memory_()
    # Runs before what multiprocessing registers, which sends SIGTERM to workers and waits for them.
    atexit.register(is_ending.fill_, True)
    return is_ending


def _outlive_stops(is_ending: torch.Tensor, _: int) -> None:
    """Let the training process alone answer signals; it needs its workers until it has saved.

    Terminals, Slurm and container runtimes send them to all processes. With its parent a worker
    ends at once on Linux, where torch would look only every few seconds, and it would hold what is
    locked meanwhile.
    """
    if sys.platform == "linux":
        multiprocessing._prctl_pr_set_pdeathsig(signal.SIGKILL)  # type: ignore[attr-defined]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if os.name == "posix":
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        # A handler of the parent's would keep the worker alive.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, partial(_end_soon, is_ending))


def _end_soon(is_ending: torch.Tensor, *_: object) -> None:
    """End after a while; at once if the parent is ending, or if told again."""
    if is_ending:
        os._exit(0)  # as torch's own handler does, so that the parent sees no failure
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.alarm(_SECONDS_AFTER_SIGTERM)


def loader_of(
    images: Dataset,
    batch_size: int,
    *,
    workers: int,
    rows: int | None = None,
    pin_memory: bool = True,
    **options: Any,
) -> DataLoader:
    """Return torch's loader of ``SeededItems``, with workers that live from epoch to epoch.

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
        options |= {"persistent_workers": True, "num_workers": started}
        options |= {"worker_init_fn": partial(_outlive_stops, _ending())}
    return DataLoader(
        SeededItems(images),
        batch_size,
        pin_memory=pin_memory and torch.cuda.is_available(),
        # Of its own, so that reading takes no number of the process that trains.
        generator=torch.Generator().manual_seed(0),
        **options,
    )
