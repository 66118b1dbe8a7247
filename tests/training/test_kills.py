"""A run may be killed before any change of its files: what is there then is enough to go on.

The files of a process that is killed stay as they are. So a copy of the folder, taken before each
change, is what a kill there leaves, and one run makes all of them; ``benchmarks/kills.py`` kills.
"""

import re
import shutil
from importlib import import_module
from pathlib import Path

import pytest

from support.commands import run_here

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
FLAGS = (
    "--method", "none", "--feature-weight", "0", "--warmup-epochs", "0", "--device", "cpu",
    "--trackers", "", "--epochs", "1", "--batch-size", "16", "--train-fraction", "0.12",
    "--accumulation", "2", "--checkpoint-every-steps", "1", "--ema-decay", "0.9", "--mixup", "0.8",
    "--log-every", "1", "--flip", "true",
)  # fmt: skip
COPIES = 24


@pytest.fixture
def parts(monkeypatch):
    """Watching files, and comparing run folders, of the benchmark."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    names = ("kill_checks.events", "kill_checks.outcomes")
    return [import_module(name) for name in names]


def train(run, *more):
    done = run_here("train", "digits", "--output", run, *FLAGS, *more)
    assert done.returncode == 0, done.stderr


def _last_removal(watched):
    """How far from the end a file of a state is removed for the last time."""
    names = [*watched.values()]
    found = [
        i for i, name in enumerate(names) if re.fullmatch(r"os.remove .*/progress\.json", name)
    ]
    return len(names) - found[-1]


@pytest.mark.slow
def test_a_run_goes_on_from_what_any_kill_leaves(parts, tmp_path):
    events, outcomes = parts
    run, copies = tmp_path / "run", {}

    def keep(number, name):
        place = tmp_path / f"{number}"
        if run.exists():
            shutil.copytree(run, place)
            copies[place] = name

    events.watch(run, keep)
    train(run)
    watched = dict(copies)
    assert len(watched) > 100
    # All of them take a minute; these are spread over the run, and one is of older states that go.
    tried = list(watched)[:: max(1, len(watched) // COPIES)]
    for place in dict.fromkeys([*tried, [*watched][-_last_removal(watched)]]):
        train(place, "--auto-resume")
        assert outcomes.faults_of(place, run) == [], f"killed before {watched[place]}"
