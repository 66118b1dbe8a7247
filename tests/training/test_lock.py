"""Two runs in one folder refuse each other, by a lock that a crash does not leave behind."""

import errno
import fcntl
import json
import os
import subprocess
import sys
import time

import pytest

from support.commands import ENVIRONMENT, run_here
from vkd.errors import FieldError
from vkd.training.lock import LOCK, locked

HOLD = """
import sys, time
from pathlib import Path
from vkd.training.lock import locked
with locked(Path(sys.argv[1])):
    (Path(sys.argv[1]) / "recipe.yaml").touch()
    print("held", flush=True)
    time.sleep(100)
"""
FLAGS = ("--method", "none", "--epochs", "30", "--warmup-epochs", "0", "--device", "cpu",
         "--trackers", "", "--checkpoint-every", "1")  # fmt: skip


@pytest.fixture
def held(tmp_path):
    """A folder, and the process that holds it."""
    folder = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, folder], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield folder, process
        process.kill()


def test_a_folder_is_one_processs_until_it_is_killed(held):
    folder, process = held
    for _ in range(2):
        with pytest.raises(FieldError, match=f"run is being .* by process {process.pid}"):
            locked(folder).__enter__()
    (folder / "checkpoints" / "epoch-00002.partial").mkdir(parents=True)
    process.kill()
    process.wait()
    with locked(folder):
        assert int((folder / LOCK).read_text()) == os.getpid()
        assert not list((folder / "checkpoints").iterdir())
    assert (folder / LOCK).read_text() == ""


@pytest.mark.parametrize(
    "command",
    [
        ("train", "digits", "--method", "none", "--device", "cpu", "--resume"),
        ("compare", "digits", "--methods", "vkd,none", "--device", "cpu"),
        ("cache", "digits", "--device", "cpu"),
        ("demo",),
    ],
)
def test_every_long_command_refuses_at_once(held, command):
    folder, process = held
    (folder / "recipe.yaml").unlink()
    began = time.monotonic()
    done = run_here(*command, "--output", folder)
    assert done.returncode == 2
    sentence = done.stderr.splitlines()[-1]
    assert f"vkd: --output {folder} is being written to by process {process.pid}" in sentence
    assert len(sentence.replace(str(folder), "")) <= 200
    assert time.monotonic() - began < 20
    assert {path.name for path in folder.iterdir()} == {LOCK}


@pytest.mark.slow
def test_two_processes_resume_one_run(tmp_path):
    run = tmp_path / "run"
    short = ("train", "digits", "--output", run, *FLAGS)
    command = [sys.executable, "-m", "vkd", *map(str, short)]
    metrics = run / "metrics.jsonl"
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=ENVIRONMENT) as first:
        while first.poll() is None and not metrics.exists():
            time.sleep(0.05)
        refused = run_here(*short, "--resume")
        assert refused.returncode == 2, refused.stderr
        assert f"process {first.pid}" in refused.stderr.splitlines()[-1]
        first.kill()
    assert run_here(*short, "--resume").returncode == 0
    epochs = [json.loads(line)["epoch"] for line in metrics.read_text().splitlines()]
    assert epochs == [*range(1, 31)]


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK])
def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch, caplog, code):
    def unable(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", unable)
    with locked(tmp_path / "run"):
        (tmp_path / "run" / "recipe.yaml").touch()
    assert "knows no locks, so nothing keeps another run from writing to it" in caplog.text
    assert (tmp_path / "run" / "recipe.yaml").exists()


def test_nothing_is_left_of_a_folder_that_nothing_was_written_to(tmp_path):
    def fail():
        with locked(tmp_path / "a" / "b" / "run"):
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        fail()
    assert not list(tmp_path.iterdir())
    (tmp_path / "mine").mkdir()
    with locked(tmp_path / "mine"):
        pass
    assert [path.name for path in tmp_path.rglob("*")] == ["mine"]


def test_a_folder_that_is_read_only(read_only):
    done = run_here("train", "digits", "--method", "none", "--output", read_only)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("Read-only file system.")
    done = run_here("train", "digits", "--method", "none", "--output", read_only / "run")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("cannot be made: Read-only file system.")
