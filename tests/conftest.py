"""Fixtures that several test files share."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from vkd.api.train import train
from vkd.recipe import config_of, read_recipe
from vkd.training import trainer

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)  # each core has a worker of its own
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}


@pytest.fixture(scope="session")
def vkd():
    """Run ``python -m vkd`` in a real process; returns the finished process with its output."""

    def run(*arguments, cwd=None):
        command = [sys.executable, "-m", "vkd", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=ENVIRONMENT)

    return run


@pytest.fixture(scope="session")
def torchrun(tmp_path_factory):
    """Run a Python source text, or ``-m module ...``, with torchrun on two CPU processes."""

    def run(*arguments, source="", processes=2):
        if source:
            script = tmp_path_factory.mktemp("torchrun") / "script.py"
            script.write_text(source)
            arguments = (script, *arguments)
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += [f"--nproc_per_node={processes}", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session")
def digits_teacher(tmp_path_factory) -> Path:
    """The run folder of a digits teacher after three epochs."""
    folder = tmp_path_factory.mktemp("teacher") / "run"
    values = read_recipe("digits-teacher") | {"epochs": 3, "device": "cpu", "trackers": ""}
    train(config_of(values), folder, show=False)
    return folder


@pytest.fixture
def train_in_two_parts(monkeypatch):
    """Train a config into a folder, interrupted after its first epoch, and resume it."""

    def run(config, folder):
        original = trainer.save_state

        def stop(accelerator, run_folder, progress):
            original(accelerator, run_folder, progress)
            if progress.epoch == 1:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(trainer, "save_state", stop)
            with pytest.raises(KeyboardInterrupt):
                train(config, folder, show=False)
        train(config, folder, resume=True, show=False)

    return run
