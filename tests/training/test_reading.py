"""What goes wrong while batches are read is one sentence, with and without workers."""

import re
import time

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from support.commands import run_python
from vkd.api.train import train
from vkd.data.images import loader, splits_of
from vkd.data.workers import loader_of
from vkd.errors import FieldError, RunError, UserError
from vkd.training.reading import read, watching_workers


class Failing(Dataset):
    """Items that are there, but for one, which does what is given."""

    def __init__(self, fail, place=5, length=8):
        self.fail, self.place, self.length = fail, place, length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        if index == self.place:
            self.fail()
        return torch.zeros(1, 8, 8), index % 2


def raising(error):
    def fail():
        raise error

    return fail


def chained():
    try:
        raise KeyError("inner")
    except KeyError as error:
        raise UserError("The outer sentence: it has a colon.") from error


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("fail", "kind", "text"),
    [
        (raising(OSError(5, "Input/output error", "/x/y.png")), RunError,
         "The data could not be read: OSError: [Errno 5] Input/output error: '/x/y.png'"),
        (raising(KeyError(7)), RunError, "The data could not be read: KeyError: 7"),
        (raising(ValueError("a\nb")), RunError, "The data could not be read: ValueError: a b"),
        (raising(UserError("a.png is empty.")), UserError, "a.png is empty."),
        (raising(FieldError("data_path", "has: no a.png.")), UserError, "data_path has: no a.png."),
        (raising(RunError("9 images cannot be read.")), RunError, "9 images cannot be read."),
        (chained, UserError, "The outer sentence: it has a colon."),
    ],
)  # fmt: skip
def test_an_error_of_the_data_is_the_same_sentence_everywhere(fail, kind, text, workers):
    batches = read(loader_of(Failing(fail), 2, workers=workers))
    next(batches)
    with pytest.raises(kind) as error:
        list(batches)
    assert str(error.value) == text


@pytest.mark.parametrize("workers", [0, 1])
def test_a_long_error_is_cut_in_its_middle(workers):
    batches = loader_of(Failing(raising(OSError("x" * 5000 + " end"))), 2, workers=workers)
    with pytest.raises(RunError, match=r"OSError: x+ \.\.\. x+ end$") as error:
        list(read(batches))
    assert len(str(error.value)) <= 300


DYING = """
import os, signal, sys
import torch
from vkd.api.train import train
from vkd.cli.command import report_error
from vkd.data.images import splits_of

class Items:
    def __init__(self, is_deadly): self.is_deadly = is_deadly
    def __len__(self): return 8
    def __getitem__(self, index):
        if self.is_deadly and torch.utils.data.get_worker_info() and index == 5:
            {end}
        return torch.rand(1, 8, 8), index % 2

data = splits_of(Items(True), Items(False), classes=2)
try:
    train("digits", sys.argv[1], show=False, data=data, batch_size=2, workers=2, epochs=1,
          warmup_epochs=0, device="cpu", method="none", trackers="")
except Exception as error:
    sys.exit(report_error("vkd", error))
"""


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (
            "os.kill(os.getpid(), signal.SIGKILL)",
            "killed by a signal: Killed, as when memory runs out",
        ),
        ("os._exit(3)", "exit code 3"),
    ],
)
def test_a_worker_that_ends_is_a_sentence(tmp_path, end, told):
    # In a process of its own, as torch raises the error again whenever any process ends.
    done = run_python("-c", DYING.format(end=end), tmp_path / "run")
    line = done.stderr.splitlines()[-1]
    assert re.search(rf"loads data ended by itself \(pid \d+, {told}\)", line), done.stderr
    assert "fewer workers" in line
    assert len(line) <= 300
    assert done.returncode == 1


BROKEN = """
import os, signal, sys, threading
import torch
from torch import multiprocessing
from torch.utils.data import DataLoader
from vkd.cli.command import report_error
from vkd.training.reading import read

class Broken(DataLoader):
    def __iter__(self):
        batches = super().__iter__()
        yield next(batches)
        worker = multiprocessing.active_children()[0].pid
        threading.Timer({seconds}, os.kill, (worker, signal.SIGKILL)).start()
        raise {error}

try:
    list(read(Broken(torch.zeros(9), num_workers=1)))
except Exception as error:
    sys.exit(report_error("vkd", error))
"""


@pytest.mark.parametrize("error", ["ConnectionResetError(104, 'reset')", "EOFError()"])
def test_a_connection_that_breaks_before_the_worker_ends_is_the_workers_end(error):
    done = run_python("-c", BROKEN.format(error=error, seconds=0.5))
    assert "loads data ended by itself (pid" in done.stderr, done.stderr
    assert "killed by a signal: Killed" in done.stderr
    assert done.returncode == 1


@pytest.mark.parametrize("workers", [0, 1])
def test_a_data_set_whose_own_connection_breaks_is_told_at_once(workers):
    batches = read(loader_of(Failing(raising(ConnectionResetError("gone"))), 2, workers=workers))
    next(batches)
    start = time.monotonic()
    with pytest.raises(RunError, match="could not be read: ConnectionResetError: gone"):
        list(batches)
    assert time.monotonic() - start < 4


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    "text",
    [
        "unable to write to file </torch_12_34_0>: No space left on device (28)",
        "unable to allocate shared memory(shm) for file </torch_1_2>: No space left on device (28)",
    ],
)
def test_full_shared_memory_is_a_sentence(text, workers):
    # As torch words it where the memory that batches are handed over in is full.
    batches = read(loader_of(Failing(raising(RuntimeError(text))), 2, workers=workers))
    with pytest.raises(RunError, match=r"/dev/shm\) is full.*--shm-size") as error:
        list(batches)
    assert len(str(error.value)) <= 300


def test_a_full_disk_is_no_full_shared_memory():
    full = OSError(28, "No space left on device", "/data/a.png")
    with pytest.raises(RunError, match="could not be read: OSError"):
        list(read(DataLoader(Failing(raising(full)), 2)))


def test_other_errors_of_a_network_are_left_alone():
    with pytest.raises(RuntimeError, match="cannot be multiplied"), watching_workers():
        torch.zeros(2, 3) @ torch.zeros(2, 3)


class Items(Dataset):
    """Images of given labels."""

    def __init__(self, labels):
        self.labels = labels

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return torch.rand(1, 8, 8), self.labels[index]


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("label", "message"),
    [
        (2, r"Image 5 of the data set has the label 2; labels must be from 0 to 1, .* 2 classes"),
        (10**9, "label 1000000000"),
        (-5, "label -5"),
        (-1, "label -1"),
        (0.5, "whole numbers"),
        ("cat", "whole numbers|could not be read"),
        (torch.tensor([0, 1]), "whole numbers|could not be read"),
    ],
)
def test_labels_that_are_none_end_training_before_a_loss(label, message, workers, tmp_path):
    good = [0, 1] * 4
    data = splits_of(Items([*good[:5], label, *good[6:]]), Items(good), classes=["a", "b"])
    with pytest.raises((UserError, RunError), match=message) as error:
        train("digits", tmp_path / "run", show=False, data=data, batch_size=4, workers=workers,
              epochs=1, warmup_epochs=0, device="cpu", method="none", trackers="")  # fmt: skip
    assert len(str(error.value)) <= 300


def test_labels_of_any_whole_type_are_taken_and_unreadable_images_pass():
    data = splits_of(Items([torch.tensor(1, dtype=torch.uint8)] * 4), Items([0]), classes=2)
    (batch,) = loader(data.train, 4, classes=2)
    assert batch[1].dtype == torch.long
    data = splits_of(Items([0, -1]), Items([0]), classes=2)
    (batch,) = loader(data.train, 4, classes=2, lowest=-1)
    assert batch[1].tolist() == [0, -1]


def test_a_failure_in_training_keeps_the_last_checkpoint(tmp_path):
    calls = []

    def fail():
        calls.append(0)
        if len(calls) > 1:
            raise OSError(5, "Input/output error", "/x/y.png")

    data = splits_of(Failing(fail), Items([0, 1]), classes=2)
    message = r"Item 5 of the data set could not be read: OSError: .*y\.png"
    with pytest.raises(RunError, match=message):
        train("digits", tmp_path / "run", show=False, data=data, batch_size=4, workers=0,
              epochs=3, warmup_epochs=0, checkpoint_every=1, evaluate_every=1, device="cpu",
              method="none", trackers="")  # fmt: skip
    assert (tmp_path / "run" / "model.safetensors").is_file()
    assert [f.name for f in (tmp_path / "run" / "checkpoints").iterdir()] == ["epoch-00001"]
