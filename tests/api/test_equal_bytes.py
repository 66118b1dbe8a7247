"""Equal runs write equal bytes, but for files that hold times."""

import json
import os
import shutil

import pytest

from support.canvases import few_canvases
from support.commands import run_here, run_python
from support.gan import small_gan
from vkd.api.train import train
from vkd.recipe import config_of, read_recipe

# Values that are measured anew by every run, in files that hold others.
TIMES = {"seconds", "images_per_second", "waiting", "memory_gb"}


def without_times(content):
    """What a file of JSON says but for times."""
    if isinstance(content, dict):
        return {name: without_times(part) for name, part in content.items() if name not in TIMES}
    return [without_times(part) for part in content] if isinstance(content, list) else content


def contents(folder):
    """The files of a folder by name, those of records and measurements without their times."""
    found = {}
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = file.relative_to(folder).as_posix()
        if file.suffix == ".jsonl":
            lines = file.read_text().splitlines()
            found[name] = [without_times(json.loads(line)) for line in lines]
        elif file.name == "precision.json":
            found[name] = without_times(json.loads(file.read_text()))
        else:
            found[name] = file.read_bytes()
    return found


def run_classification(folder, teacher, seed):
    words = (
        "digits", "--output", folder, "--epochs", 2, "--teacher-checkpoint", teacher,
        "--warmup-epochs", 0, "--device", "cpu", "--log-every", 2, "--trackers", "",
    )  # fmt: skip
    # Another process, whose hashes and sets are in another order.
    done = run_python("-m", "vkd", "train", *words, PYTHONHASHSEED=str(seed))
    assert done.returncode == 0, done.stderr


def run_detection(folder, teacher, seed):
    values = read_recipe("digits-detection") | {
        "method": "none", "feature_weight": 0.0, "epochs": 1, "warmup_epochs": 0, "device": "cpu",
        "trackers": "", "batch_size": 4,
    }  # fmt: skip
    with few_canvases(12, 8, 8):
        train(config_of(values), folder, show=False)


def run_generation(folder, teacher, seed):
    config = small_gan(epochs=1, teacher_checkpoint=str(teacher), extractor_checkpoint=str(teacher))
    train(config, folder, show=False)


def run_embedding(folder, teacher, seed):
    train(
        "digits-embedding", folder, teacher_checkpoint=str(teacher), epochs=1, device="cpu",
        warmup_epochs=0, trackers="", show=False,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("run", [run_classification, run_detection, run_generation, run_embedding])
def test_runs(tmp_path, digits_teacher, run):
    found = []
    for seed in (1, 2):
        # In one place, as recipes name it.
        folder = tmp_path / "run"
        run(folder, digits_teacher, seed)
        found.append(contents(folder))
        folder.rename(tmp_path / str(seed))
    first, second = found
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []
    assert "model.safetensors" in first


@pytest.mark.slow
def test_files_of_a_run(tmp_path, digits_run, digits_teacher):
    names = {
        "report.html": ("report", digits_run, "--output"),
        "out.safetensors": ("convert", digits_run / "model.safetensors"),
        "out.onnx": ("export", "--checkpoint", digits_run),
        "out.pt2": ("export", "--checkpoint", digits_run),
        "store": ("cache", "digits", "--device", "cpu", "--teacher-checkpoint", digits_teacher,
                  "--output"),
        "hub": ("publish", "--checkpoint", digits_run, "--output"),
    }  # fmt: skip
    different = []
    for name, command in names.items():
        found = []
        for _ in range(2):
            target = tmp_path / name
            done = run_here(*command, target)
            assert done.returncode == 0, done.stderr
            found.append(contents(target) if target.is_dir() else target.read_bytes())
            shutil.rmtree(target) if target.is_dir() else os.unlink(target)
        if found[0] != found[1]:
            different.append(name)
            if isinstance(found[0], dict):
                different += [part for part in found[0] if found[0][part] != found[1].get(part)]
    assert different == []
    assert not list(tmp_path.iterdir())
