"""Runs that are killed lose nothing; and what they would lose is found."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def outcomes(benchmark):
    """The comparison of run folders."""
    benchmark("kills")
    return sys.modules["kill_checks.outcomes"]


def written_run(folder, seconds=1.0, day="2026-01-02"):
    """A run folder with a state, records, a recipe and a card."""
    state = folder / "checkpoints" / "epoch-00001"
    state.mkdir(parents=True)
    (state / "manifest.json").write_text("{}")
    (folder / "recipe.yaml").write_text("task: classification\n")
    record = {"epoch": 1, "train": {"loss": 2.0}, "seconds": seconds}
    (folder / "metrics.jsonl").write_text(json.dumps(record) + "\n")
    (folder / "README.md").write_text(f"Accuracy 90.1, {day}.\n")
    return folder


def twice(run):
    text = (run / "metrics.jsonl").read_text()
    (run / "metrics.jsonl").write_text(text + text)


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (lambda run: None, []),
        (twice, ["metrics.jsonl differs"]),
        (lambda run: (run / "recipe.yaml").unlink(), ["recipe.yaml is missing"]),
        (lambda run: (run / "a.partial").touch(), ["a.partial is left over"]),
        (lambda run: (run / "recipe.yaml").write_text("task: detection\n"),
         ["recipe.yaml differs"]),
        (lambda run: (run / "README.md").write_text("Accuracy 90.2, 2026-01-03.\n"),
         ["README.md differs"]),
    ],
)  # fmt: skip
def test_what_a_run_lost_is_found(outcomes, tmp_path, damage, found):
    whole, run = written_run(tmp_path / "whole"), written_run(tmp_path / "run", 9.0, "2026-01-03")
    damage(run)
    assert outcomes.faults_of(run, whole) == found


@pytest.mark.slow
def test_killed_runs_lose_nothing(tmp_path):
    output = tmp_path / "kills.json"
    words = ["--tasks", "classification", "--limit", "4", "--others", "0", "--output", output]
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "kills.py", *words], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    trials = json.loads(output.read_text())["trials"]
    assert len(trials) >= 4
    assert not any(trial["lost"] for trial in trials.values())
