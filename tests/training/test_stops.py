"""Signals: a run saves a checkpoint and ends with code 75, or at once when asked twice."""

import signal

import pytest

from support.commands import SEARCH_PATH, run_python
from support.runs import require_equal_runs
from vkd.api.train import train
from vkd.errors import Stopped
from vkd.training import recovery
from vkd.training.checkpoint import states_of

FLAGS = (
    "train", "digits", "--method", "none", "--feature-weight", "0", "--warmup-epochs", "0",
    "--device", "cpu", "--trackers=", "--crop-padding", "1", "--batch-size", "128", "--epochs", "3",
    "--evaluate-every", "1", "--checkpoint-every", "2", "--ema-decay", "0.9",
)  # fmt: skip
# Runs `vkd` and sends itself signals before a step, or in an evaluation.
SIGNALLED = """
import os, sys
from vkd.training import trainer
where, update, *numbers = sys.argv[1].split(",")
original = getattr(trainer.Trainer, where)
def signalled(self, *arguments):
    progress = arguments[-1] if where == "_train_step" else None
    if not signalled.done and (progress is None or progress.updates == int(update)):
        signalled.done = True
        for number in numbers:
            os.kill(os.getpid(), int(number))
    return original(self, *arguments)
signalled.done = False
setattr(trainer.Trainer, where, signalled)
from vkd.cli import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that no signal stopped."""
    folder = tmp_path_factory.mktemp("stops") / "whole"
    assert run_python("-m", "vkd", *FLAGS, "--output", folder).returncode == 0
    return folder


def stopped(folder, where, update, *numbers):
    """Train until the signals; return the finished process."""
    words = ",".join(map(str, (where, update, *map(int, numbers))))
    return run_python("-c", SIGNALLED, words, *FLAGS, "--output", folder)


@pytest.mark.parametrize(
    ("number", "where", "name"),
    [
        (signal.SIGTERM, "_train_step", "epoch-00001-batch-00003"),
        (signal.SIGUSR1, "_train_step", "epoch-00001-batch-00003"),
        (signal.SIGINT, "_train_step", "epoch-00001-batch-00003"),
        # In the first epoch's evaluation: its steps are done, and are not taken again.
        (signal.SIGTERM, "evaluate", "epoch-00000-batch-00005"),
    ],
)
def test_a_signal_saves_and_the_resumed_run_is_the_same(whole, tmp_path, number, where, name):
    run = tmp_path / "run"
    done = stopped(run, where, 7, number)
    assert done.returncode == Stopped.EXIT_CODE == 75, done.stderr
    assert f"stopped by {number.name}; saved {name}" in done.stderr.splitlines()[-1]
    assert [state.name for state in states_of(run)] == [name]
    again = run_python("-m", "vkd", *FLAGS, "--output", run, "--auto-resume", "--workers", "1")
    assert again.returncode == 0, again.stderr
    require_equal_runs(whole, run)


def test_a_second_control_c_ends_at_once(tmp_path):
    done = stopped(tmp_path / "run", "_train_step", 2, signal.SIGINT, signal.SIGINT)
    assert done.returncode == 130
    assert states_of(tmp_path / "run") == []


def test_handlers_are_given_back(tmp_path):
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    train("digits", tmp_path / "run", show=False, method="none", feature_weight=0.0, epochs=1,
          warmup_epochs=0, device="cpu", trackers="")  # fmt: skip
    assert before == {number: signal.getsignal(number) for number in before}


def test_minutes_are_kept_by_the_clock(tmp_path, monkeypatch):
    saved = []
    original = recovery.save_state

    def save(accelerator, folder, progress, *rest, **options):
        saved.append(progress.name)
        original(accelerator, folder, progress, *rest, **options)

    ticks = iter(range(0, 10_000, 25))
    monkeypatch.setattr(recovery, "save_state", save)
    monkeypatch.setattr("vkd.training.stops.monotonic", lambda: next(ticks))
    train("digits", tmp_path / "run", show=False, method="none", feature_weight=0.0, epochs=1,
          warmup_epochs=0, device="cpu", trackers="", batch_size=128,
          checkpoint_every_minutes=1.0)  # fmt: skip
    # The clock is read at each update and each checkpoint: 75 s after every third.
    assert saved == ["epoch-00000-batch-00003", "epoch-00001"]


def test_resuming_where_there_is_no_run_is_a_mistake_and_auto_resume_begins(tmp_path):
    done = run_python("-m", "vkd", *FLAGS, "--output", tmp_path / "run", "--resume")
    assert done.returncode == 2
    assert "--resume found no run in" in done.stderr
    assert not (tmp_path / "run").exists()


# In torchrun's two processes; the second alone gets a signal, or ends, once.
TOGETHER = """
import os, sys
from pathlib import Path
from vkd.training import trainer
kind, folder = sys.argv[1], Path(sys.argv[2])
original = trainer.Trainer._train_step
def step(self, batch, progress):
    mine = self.accelerator.process_index == 1 and progress.updates == 4
    if mine and not (folder / "told").exists():
        (folder / "told").touch()
        if kind == "fails":
            os._exit(3)
        os.kill(os.getpid(), 15)
    return original(self, batch, progress)
trainer.Trainer._train_step = step
from vkd.cli import main
sys.exit(main(sys.argv[3:]))
"""


@pytest.mark.slow
def test_two_processes_agree_on_a_stop_and_torchrun_starts_them_again(tmp_path):
    script = tmp_path / "together.py"
    script.write_text(TOGETHER)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    flags = [*FLAGS[:-2], "--batch-size", "64", "--checkpoint-every-steps", "2"]

    def together(name, kind, *words):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        return run_python(
            *launch, *words, script, kind, folder, *flags, "--output", folder / "run",
            "--auto-resume", PYTHONPATH=SEARCH_PATH,
        )  # fmt: skip

    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "told").touch()
    assert together("whole", "nothing").returncode == 0
    done = together("stopped", "stops")
    assert done.stderr.count("saved epoch-") == 2
    assert "exitcode  : 75" in done.stderr
    done = together("stopped", "nothing")
    assert done.returncode == 0, done.stderr
    done = together("failed", "fails", "--max-restarts=1")
    assert done.returncode == 0, done.stderr
    for name in ("stopped", "failed"):
        require_equal_runs(tmp_path / "whole" / "run", tmp_path / name / "run")
