"""Several processes train as one does."""

from dataclasses import replace

import pytest

from support.canvases import few_canvases


@pytest.fixture(scope="session")
def weak_scaling(benchmark):
    """The benchmark, whose checks these are."""
    return benchmark("weak_scaling")


@pytest.fixture
def compare(benchmark, weak_scaling, tmp_path):
    """Compare a case with one process and return its row."""

    def run(case, processes):
        weak_scaling.prepare(tmp_path)
        with few_canvases(**benchmark("weak_scaling_run").CANVASES):
            return weak_scaling.compared(case, processes, 8, tmp_path)

    return run


def test_two_processes_classify_as_one(compare):
    row = compare("classification", 2)
    assert row["updates"] == 2 * (718 // 16)
    assert row["differences"].keys() == {"feature", "logit", "label", "weights"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "processes"),
    [("classification", 4), ("detection", 2), ("generation", 2)],
)
def test_more_processes_and_tasks_train_as_one(compare, case, processes):
    assert compare(case, processes)["images_a_step"] == 8 * processes


def test_what_is_unequal_is_found(weak_scaling):
    weights = {"w": weak_scaling.torch.zeros(2)}
    whole = weak_scaling.Outcome(
        terms=[{"label": 2.0}] * 2, epochs=[[0, 1, 2, 3], [3, 1, 2, 0]], images=5,
        weights=weights, moved=1.0, differing=[], is_apart=True, steps_per_second=1.0,
        communication=0.0,
    )  # fmt: skip
    assert weak_scaling.faults(whole, 2) == []
    assert weak_scaling.differences(whole, whole) == {"label": 0.0, "weights": 0.0}
    broken = replace(
        whole, differing=["weights"], is_apart=False, moved=0.0, epochs=[[0, 1, 1, 3], [3, 1]],
        terms=[{"label": 2.0}, {"label": 2.2}],
    )  # fmt: skip
    assert len(weak_scaling.faults(broken, 2)) == 5
    assert weak_scaling.differences(broken, whole)["label"] == pytest.approx(0.1)
