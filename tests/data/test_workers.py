"""Workers outlive an epoch, and draw what a run that is resumed draws."""

import os
import random

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from vkd.data.workers import Reseeded, loader_of


class Draws(Dataset):
    """Items (process, what it drew by torch, NumPy and Python)."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        drawn = [torch.rand(()).item(), np.random.rand(), random.random()]
        return torch.tensor([os.getpid(), *drawn], dtype=torch.float64)


def epoch(batches):
    rows = torch.cat(list(batches))
    return set(rows[:, 0].tolist()), rows[:, 1:]


@pytest.fixture
def batches():
    torch.manual_seed(0)
    return loader_of(Draws(), 2, workers=2)


def test_workers_stay_and_draw_anew_by_each_seed(batches):
    state = torch.get_rng_state()
    batches.dataset.reseed()
    processes, first = epoch(batches)
    batches.dataset.reseed()
    again, second = epoch(batches)
    assert processes == again
    assert os.getpid() not in processes
    assert not (first == second).any()
    # A run that is resumed starts its workers later; the random numbers are the same.
    torch.set_rng_state(state)
    other = loader_of(Draws(), 2, workers=2)
    other.dataset.reseed()
    other.dataset.reseed()
    assert torch.equal(epoch(other)[1], second)


def test_two_workers_draw_different_numbers(batches):
    batches.dataset.reseed()
    rows = epoch(batches)[1]
    assert len(set(rows.flatten().tolist())) == rows.numel()


def test_starting_workers_takes_no_random_number(batches):
    before = torch.get_rng_state()
    epoch(batches)
    assert torch.equal(torch.get_rng_state(), before)


def test_without_workers_nothing_is_wrapped():
    assert not isinstance(loader_of(Draws(), 2, workers=0).dataset, Reseeded)


def test_fewer_workers_are_said_where_training_would_have_them(caplog):
    assert loader_of(Draws(), 4, workers=3).num_workers == 2
    assert not caplog.text
    assert loader_of(Draws(), 4, workers=3, drop_last=True).num_workers == 2
    assert "workers: 2 of 3 are started, as an epoch has 2 batches" in caplog.text
