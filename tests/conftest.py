"""Fixtures that several test files share, and what workers share with each other."""

import logging
import os

import pytest
import torch

from support import disks
from support import three_processes as three_processes_script
from support import two_processes as two_processes_script
from support.coco import write_coco
from support.commands import run_here, run_process, run_processes
from support.photographs import write_folder
from support.runs import digits_files, digits_teacher_run, short_digits_run, small_gan_run
from support.sharing import shared_folder
from vkd.api.train import train
from vkd.methods.catalogue import METHODS
from vkd.tasks import TASKS
from vkd.training import recovery

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)  # each core has a worker of its own
    os.environ["OMP_NUM_THREADS"] = "1"  # and so have the processes that it starts


@pytest.fixture(autouse=True)
def _as_it_was():
    """Undo what tests do to the library's log, tasks and methods, so that order does not matter."""
    log = logging.getLogger("vkd")
    before = log.handlers, log.level, log.propagate
    registries = [(known, dict(known)) for known in (TASKS, METHODS)]
    yield
    log.handlers, log.level, log.propagate = before
    for known, entries in registries:
        known.clear()
        known.update(entries)


@pytest.fixture(scope="session")
def vkd_process():
    """Run ``python -m vkd`` in a real process; returns the finished process with its output."""
    return run_process


@pytest.fixture
def vkd():
    """Run ``vkd`` in this process, which saves importing torch; returns code and output alike."""
    return run_here


@pytest.fixture(scope="session")
def torchrun():
    """Run a script, or ``-m module ...``, with torchrun on two CPU processes or as many as told."""
    return run_processes


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """Return the folder of a name, filled by a function once for all workers."""

    def folder(name, make):
        return shared_folder(tmp_path_factory, name, make)

    return folder


@pytest.fixture(scope="session")
def digits_teacher(shared):
    """The run folder of a digits teacher after three epochs."""
    return shared("digits-teacher", digits_teacher_run)


@pytest.fixture(scope="session")
def digits_run(shared, digits_teacher):
    """The run folder of a distilled digits student after twelve epochs."""
    return shared("digits-run", lambda folder: short_digits_run(folder, digits_teacher))


@pytest.fixture(scope="session")
def digits_exports(shared, digits_run):
    """The digits student as float.onnx, float.pt2 and int8.onnx, and what was printed of each."""
    return shared("digits-exports", lambda folder: digits_files(folder, digits_run))


@pytest.fixture(scope="session")
def gan_run(shared, digits_teacher):
    """The run folder of a small GAN after two epochs."""
    return shared("gan-run", lambda folder: small_gan_run(folder, digits_teacher))


@pytest.fixture(scope="session")
def two_processes(shared, digits_teacher, torchrun):
    """What ``support/two_processes.py`` leaves."""

    def run(folder):
        folder.mkdir()
        torchrun(two_processes_script.__file__, folder, digits_teacher)

    return shared("two-processes", run)


@pytest.fixture(scope="session")
def three_processes(shared, digits_teacher, gan_run, torchrun):
    """What ``support/three_processes.py`` leaves."""

    def run(folder):
        folder.mkdir()
        script = three_processes_script.__file__
        torchrun(script, folder, digits_teacher, gan_run, processes=3)

    return shared("three-processes", run)


@pytest.fixture(scope="session")
def coco(tmp_path_factory):
    """A data set in COCO's format."""
    return write_coco(tmp_path_factory.mktemp("coco") / "data")


@pytest.fixture(scope="session")
def photographs(tmp_path_factory):
    """A data set in ImageNet's layout, of 24 images to train on and 25 to evaluate on."""
    return write_folder(tmp_path_factory.mktemp("imagenet"), odd=1)


@pytest.fixture
def interrupted(monkeypatch):
    """Train a recipe into a folder until the state of an epoch is saved."""

    def run(recipe, folder, epoch=1, **changes):
        original = recovery.save_state

        def stop(accelerator, run_folder, progress, *state, **options):
            original(accelerator, run_folder, progress, *state, **options)
            if progress.epoch == epoch:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(recovery, "save_state", stop)
            with pytest.raises(KeyboardInterrupt):
                train(recipe, folder, show=False, **changes)

    return run


@pytest.fixture
def train_in_two_parts(interrupted):
    """Train a config into a folder, interrupted after its first epoch, and resume it."""

    def run(config, folder):
        interrupted(config, folder)
        train(config, folder, resume=True, show=False)

    return run


@pytest.fixture
def small_disk(tmp_path):
    """The folder of a disk of 1 MB."""
    (tmp_path / "disk").mkdir()
    with disks.small(tmp_path / "disk", 1 << 20) as folder:
        yield folder


@pytest.fixture
def read_only(tmp_path):
    """A folder that nobody can write to."""
    (tmp_path / "fixed").mkdir()
    with disks.read_only(tmp_path / "fixed") as folder:
        yield folder
