"""Workers outlive an epoch, and change nothing of what is drawn."""

import os
import random
import time

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from support.commands import SEARCH_PATH, run_python
from vkd.data.workers import Repeats, loader_of


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
    return loader_of(Draws(), 2, workers=2)


def test_workers_stay_and_draw_anew_by_each_epoch_and_seed(batches):
    batches.dataset.draw(seed=0, epoch=0)
    processes, first = epoch(batches)
    batches.dataset.draw(seed=0, epoch=1)
    again, second = epoch(batches)
    batches.dataset.draw(seed=1, epoch=1)
    third = epoch(batches)[1]
    assert processes == again
    assert os.getpid() not in processes
    assert not (first == second).any()
    assert not (second == third).any()


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_what_an_item_draws_depends_on_no_worker_and_on_no_item_before_it(batches, workers):
    batches.dataset.draw(seed=3, epoch=5)
    rows = epoch(batches)[1]
    assert len(set(rows.flatten().tolist())) == rows.numel()
    other = loader_of(Draws(), 2, workers=workers, sampler=[6, 1])
    other.dataset.draw(seed=3, epoch=5)
    assert torch.equal(epoch(other)[1], rows[[6, 1]])


@pytest.mark.parametrize("workers", [0, 2])
def test_reading_takes_no_random_number_of_this_process(workers):
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    epoch(loader_of(Draws(), 2, workers=workers))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before[1:]


def test_an_item_that_comes_again_is_drawn_anew():
    sampler = Repeats([4, 4, 2, 4], 8)
    batches = loader_of(Draws(), 4, workers=0, sampler=sampler)
    rows = epoch(batches)[1]
    assert len(set(rows[:, 0].tolist())) == 4
    assert list(sampler) == [4, 12, 2, 20]


def test_fewer_workers_are_said_where_training_would_have_them(caplog):
    assert loader_of(Draws(), 4, workers=3).num_workers == 2
    assert not caplog.text
    assert loader_of(Draws(), 4, workers=3, drop_last=True).num_workers == 2
    assert "workers: 2 of 3 are started, as an epoch has 2 batches" in caplog.text


FAILS = """
import sys
from data.test_workers import Draws
from vkd.data.workers import loader_of

batches = iter(loader_of(Draws(), 2, workers=2))
next(batches)
kept = sys.modules["kept"] = batches
raise SystemExit(3)
"""


def test_workers_end_at_once_with_a_process_that_fails():
    began = time.monotonic()
    done = run_python("-c", FAILS, PYTHONPATH=SEARCH_PATH)
    assert (done.returncode, done.stderr) == (3, "")
    # Told by SIGTERM alone, as others send it too, each would stay for 20 s.
    assert time.monotonic() - began < 15
