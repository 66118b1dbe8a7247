"""A task from outside the package: one file, one registration, and everything works with it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import vkd
from vkd.cli import main
from vkd.errors import UserError
from vkd.tasks import TASKS
from vkd.training.spec import TaskSpec

SUPPORT = Path(__file__).parent.parent / "support"
RECIPE = "task: line\nepochs: 20\nbatch_size: 8\nlr: 0.1\ndevice: cpu\nweight_decay: 0.0\n"


@pytest.fixture(scope="module")
def toy():
    sys.path.insert(0, str(SUPPORT))
    import toy_task

    yield toy_task
    sys.path.remove(str(SUPPORT))
    # Other processes, of later tests, do not find it.
    del TASKS["line"], sys.modules["toy_task"]


@pytest.fixture
def recipe(tmp_path):
    file = tmp_path / "line.yaml"
    file.write_text(RECIPE)
    return str(file)


def test_it_trains_resumes_evaluates_and_predicts_in_python(toy, recipe, tmp_path, interrupted):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    metrics = vkd.train(recipe, whole, show=False, slope=2.0)
    assert metrics["error"] < 0.1
    interrupted(recipe, broken, epoch=7, slope=2.0)
    vkd.train(recipe, broken, resume=True, show=False, slope=2.0)
    first, second = (load_file(run / "model.safetensors") for run in (whole, broken))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert vkd.evaluate(str(whole))["error"] == pytest.approx(metrics["error"])
    (record,) = vkd.predict(str(whole), at=0.5)
    assert record["value"] == pytest.approx(1.0, abs=0.2)
    with pytest.raises(UserError, match="threshold has no meaning for line"):
        vkd.predict(str(whole), threshold=0.5)
    with pytest.raises(UserError, match="cannot be exported"):
        vkd.export(str(whole), tmp_path / "line.onnx")


def test_it_is_on_the_command_line_by_an_entry_point(toy, recipe, tmp_path, capsys):
    installed = tmp_path / "site" / "toy-1.0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("[vkd.plugins]\ntoy = toy_task\n")
    paths = [str(installed.parent), str(SUPPORT), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}

    folder = str(tmp_path / "run")
    command = [sys.executable, "-m", "vkd", "train", recipe, "--slope", "2", "--output", folder]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "error: " in done.stdout
    assert main(["train", recipe, "--help"]) == 0
    assert re.search(r"--slope X +of the true line\. \[3\.0\]", capsys.readouterr().out)
    assert main(["predict", "--help"]) == 0
    assert "line: where to read the line." in capsys.readouterr().out
    assert main(["predict", "--checkpoint", folder, "--at", "0.5"]) == 0
    line = capsys.readouterr().out
    assert json.loads(line)["value"] == pytest.approx(1.0, abs=0.2)


def test_the_command_resumes_and_evaluates_it(toy, recipe, tmp_path, capsys):
    folder = str(tmp_path / "run")
    assert main(["train", recipe, "--output", folder, "--epochs", "3"]) == 0
    assert main(["train", recipe, "--output", folder, "--epochs", "3", "--resume"]) == 0
    assert main(["eval", "--checkpoint", folder]) == 0
    assert re.search(r"^error: [\d.]+$", capsys.readouterr().out, re.MULTILINE)


def test_names_cannot_be_taken_twice(toy):
    with pytest.raises(UserError, match="There is a task 'detection' already"):
        vkd.register_task(
            TaskSpec(name="detection", config=toy.LineConfig, task="x:y", evaluate="x:y")
        )
