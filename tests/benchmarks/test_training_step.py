"""The benchmark of a training step: rows do what they say, and the command writes both files."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from vkd import OrthogonalProjection

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
ROWS = {
    "deit-ti": {
        "student", "teacher", "network", "network-bfloat16", "store", "release", "timm", "plain",
        "timm-plain", "torchdistill", "projection", "release-projection",
    },
    "vidt-nano": {"student", "teacher", "network", "network-bfloat16", "release", "store"},
    "biggan": {"student", "teacher", "network", "network-bfloat16", "store"},
}  # fmt: skip


@pytest.fixture
def steps(monkeypatch):
    """The folder of benchmarks on the path, and its package."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import steps

    return steps


@pytest.fixture
def pair(steps, tmp_path):
    """Makes a small pair, with what its rows share."""
    from steps.pair import Settings
    from steps.pairs import make_pair

    def make(name):
        made = make_pair(name, Settings(4, "cpu", quick=True, folder=tmp_path))
        made.folder.mkdir()
        made.prepare()
        return made

    return make


@pytest.mark.slow
def test_the_command_measures_every_row_and_names_what_is_left_out(tmp_path):
    command = [
        sys.executable, "training_step.py", "--quick", "--rounds", "1", "--batch-size", "4",
        "--pairs", ",".join(ROWS), "--output", str(tmp_path),
    ]  # fmt: skip
    done = subprocess.run(command, cwd=BENCHMARKS, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    table = (tmp_path / "training_step.md").read_text()
    found = json.loads((tmp_path / "training_step.json").read_text())
    assert {"torch", "hardware", "date"} <= set(found["environment"])
    for name, rows in ROWS.items():
        part = found["pairs"][name]
        assert part["rows"].keys() | part["left_out"].keys() == rows
        for row in part["rows"].values():
            assert len(row["seconds"]) == 1
            assert min(row["seconds"]) > 0
            assert row["peak"] > row["step"] >= 0
        assert f"## {name}" in table
        parts = part["profile"]["parts"]
        # Every part, whatever it costs on this machine.
        named = {cost["name"] for cost in parts}
        assert {"teacher", "student", "student, backward", "optimiser", "feature loss"} <= named
        assert sum(cost["share"] for cost in parts) == pytest.approx(1.0, abs=1e-3)
        assert len(part["profile"]["operators"]) == 5


@pytest.mark.parametrize("name", ["student", "network", "store", "timm", "plain", "timm-plain"])
def test_a_step_of_a_classifier_trains_it(pair, name):
    from steps.rows import ROWS as BUILT

    step = BUILT[name](pair("deit-ti"))
    trained = [p for group in step.optimizer.param_groups for p in group["params"]]
    before = [p.detach().clone() for p in trained]
    step()
    moved = sum(not torch.equal(p, old) for p, old in zip(trained, before, strict=True))
    assert moved > 0.9 * len(trained)
    assert all(p.grad is None for p in trained)


def test_the_release_projection_is_ours_at_the_same_weight(steps):
    from steps.rows import released_projection

    for student_dim, teacher_dim in ((6, 20), (8, 8)):
        released = released_projection(student_dim, teacher_dim)
        ours = OrthogonalProjection(student_dim, teacher_dim)
        ours.load_weight(released.weight.detach())
        features = torch.randn(5, student_dim)
        assert torch.allclose(released(features), ours(features), atol=1e-5)


def test_the_release_reads_its_four_values(pair):
    from steps.rows import release

    step = release(pair("deit-ti"))
    values = step()
    assert [type(value) for value in values] == [float] * 4
    assert values[0] == pytest.approx(sum(values[1:]), rel=1e-5)


def test_goals_are_ratios_of_the_same_round(steps):
    from steps.measuring import Measured
    from steps.report import goals_of, lines_of

    def row(*seconds):
        return Measured(list(seconds), 100.0, 10.0)

    rows = {
        "student": row(1.0, 2.0, 4.0),
        "teacher": row(2.0, 4.0, 8.0),
        "network": row(3.0, 6.3, 12.0),
        "store": row(1.1, 2.2, 4.4),
        "release": row(30.0, 31.5, 61.2),
        "timm": row(3.0, 6.0, 12.6),
        "projection": row(0.1, 0.1, 0.1),
        "release-projection": row(0.4, 0.6, 0.4),
    }
    beside = {"student": row(1.0, 2.0, 4.0), "store": row(1.0, 2.02, 4.4)}
    found = {goal.name: (round(goal.found, 4), goal.is_met) for goal in goals_of(rows, beside)}
    assert list(found.values()) == [
        (1.01, True), (1.0, True), (5.1, True), (4.0, False), (1.0, True)
    ]  # fmt: skip
    table = lines_of(
        rows, beside, {"parts": [], "operators": []}, {"torchdistill": "not installed"}
    )
    assert "| ours with the store | 2.200 | 1.100 (1.100 to 1.100) | 100 | 10 |" in table
    assert "The store's goal: 3 rounds of these two rows alone, 1.000 to 1.100." in table
    assert any("torchdistill" in line and "left out: not installed" in line for line in table)


@pytest.mark.parametrize("name", ROWS)
def test_the_teacher_is_done_before_the_student_keeps_anything(pair, name):
    from steps.rows import OwnStep, own_task

    made, order = pair(name), []
    config, task = own_task(made)
    step = OwnStep(made, config, task)
    for part, module in made.parts(task).items():
        module.register_forward_hook(lambda *_, part=part: order.append(part))
    step()
    assert [part for part in order if part in ("student", "teacher")] == ["teacher", "student"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--pairs", "deit-xl"], "--pairs must be of deit-ti, deit-s"),
        (["--rounds", "0"], "--rounds must be at least 1, found 0"),
        (["--batch-size", "5"], "--batch-size must be even and at least 4, found 5"),
    ],
)
def test_flags_that_cannot_be_are_told(steps, monkeypatch, capsys, flags, message):
    import training_step

    monkeypatch.setattr(sys, "argv", ["training_step.py", *flags])
    with pytest.raises(SystemExit):
        training_step.main()
    assert message in capsys.readouterr().err
