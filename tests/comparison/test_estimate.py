"""The time that is left."""

import json
from pathlib import Path

import pytest

from vkd.comparison.estimate import Estimate, makespan
from vkd.comparison.runs import Run
from vkd.recipe import recipe


def run_of(name, folder, epochs=10, needs=()):
    config = recipe("digits", epochs=epochs, warmup_epochs=0)
    return Run(name=name, config=config, folder=Path(folder), is_tested=True, needs=tuple(needs))


def test_the_last_process_to_end_counts():
    runs = [(run_of("a", f"a{index}"), 10.0) for index in range(3)]
    assert makespan([], runs, 1) == 30
    assert makespan([], runs, 2) == 20
    assert makespan(runs[:1], runs[1:], 2) == 20
    assert makespan([(runs[0][0], 4.0)], runs[1:], 2) == 14


def test_students_wait_for_their_teacher():
    teacher = (run_of("teacher", "t"), 8.0)
    students = [(run_of("a", f"a{index}", needs=[Path("t")]), 2.0) for index in range(2)]
    assert makespan([teacher], students, 2) == 10
    assert makespan([], [teacher, *students], 2) == 10


def test_nothing_is_said_before_anything_is_known():
    assert Estimate().left([], [run_of("a", "a")], 2) is None


def test_epochs_of_the_same_variant_go_before_others(tmp_path):
    estimate = Estimate()
    estimate.add(run_of("a", "a0", epochs=10), 20.0)
    estimate.add(run_of("b", "b0", epochs=10), 40.0)
    assert estimate.left([], [run_of("a", "a1", epochs=5)], 1) == pytest.approx(10)
    assert estimate.left([], [run_of("c", "c1", epochs=5)], 1) == pytest.approx(15)
    active = run_of("c", tmp_path, epochs=4)
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"epoch": 1, "seconds": 7}) + "\n")
    assert estimate.left([active], [], 1) == pytest.approx(21)
