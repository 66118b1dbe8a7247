"""The commands as users call them, on runs of digits."""

import json
import re

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from sklearn.datasets import load_digits

from vkd.cli import main
from vkd.models import create_model
from vkd.recipe import read_recipe
from vkd.training.records import read_metrics


def test_a_run_folder_holds_what_it_should(digits_run):
    shown = (digits_run / "stderr.txt").read_text()
    assert re.search(r"epoch 12/12 .*feature .*accuracy .*lr .*left", shown)
    names = {path.name for path in digits_run.iterdir()}
    assert names >= {"recipe.yaml", "metrics.jsonl", "model.safetensors", "tensorboard"}
    assert list((digits_run / "tensorboard").glob("events.out.tfevents.*"))


def test_eval_and_predict_work_from_a_run_and_from_the_file_alone(vkd, digits_run, tmp_path):
    evaluated = vkd("eval", "--checkpoint", digits_run)
    alone = vkd("eval", "--checkpoint", digits_run / "model.safetensors")
    assert evaluated.stdout.splitlines()[:-1] == alone.stdout.splitlines()[:-1]
    accuracy = float(re.search(r"accuracy: ([\d.]+)", evaluated.stdout)[1])
    assert accuracy > 60
    digits = load_digits()
    paths = []
    for index in range(20):
        paths.append(tmp_path / f"{index}.png")
        pixels = (digits.images[index] / 16 * 255).round().astype(np.uint8)
        Image.fromarray(pixels).save(paths[-1])
    lines = vkd("predict", *paths, "--checkpoint", digits_run).stdout.splitlines()
    records = [json.loads(line) for line in lines]
    assert [record["image"] for record in records] == [str(path) for path in paths]
    right = [int(r["class"]) == t for r, t in zip(records, digits.target[:20], strict=True)]
    assert sum(right) >= 11


def test_predict_refuses_what_is_not_an_image(digits_run, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("no picture")
    assert main(["predict", str(tmp_path / "notes.txt"), "--checkpoint", str(digits_run)]) == 2
    assert "notes.txt is not an image" in capsys.readouterr().err


def test_eval_refuses_other_files_in_one_sentence(tmp_path, capsys):
    (tmp_path / "weights.pth").write_bytes(b"not a checkpoint at all")
    weights = str(tmp_path / "weights.pth")
    for recipe in ([], ["--recipe", "digits"]):
        assert main(["eval", "--checkpoint", weights, *recipe]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        assert "not a checkpoint" in lines[0]
    torch.save(create_model("cnn_digits").state_dict(), weights)
    assert main(["eval", "--checkpoint", weights]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "give recipe (--recipe)" in lines[0]


@pytest.mark.slow
def test_digits_trains_its_own_teacher_first(vkd, tmp_path):
    folder, recipe = tmp_path / "run", tmp_path / "short.yaml"
    recipe.write_text(yaml.safe_dump({**read_recipe("digits-teacher"), "epochs": 2}))
    arguments = ["train", "digits", "--output", folder, "--epochs", 1, "--warmup-epochs", 0,
                 "--teacher-recipe", recipe]  # fmt: skip
    assert vkd(*arguments).returncode == 0
    assert (folder / "teacher" / "model.safetensors").is_file()
    assert len(read_metrics(folder / "teacher")) == 2
    assert vkd(*arguments, "--resume").returncode == 0
