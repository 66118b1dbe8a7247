"""``vkd``: what it says at once, and mistakes in one sentence."""

import re
import time

import pytest
import torch

from vkd.cli import main


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["train", "digits", "--epoch", "3"]]
)
def test_answers_within_a_second_without_torch(vkd_process, arguments):
    took = []
    # The best of several, as other tests run beside this one.
    while len(took) < 8 and not (took and min(took) < 1):
        began = time.perf_counter()
        vkd_process(*arguments)
        took.append(time.perf_counter() - began)
    assert min(took) < 1


QUICK_MISTAKES = [
    (["trian"], "There is no command 'trian' of vkd; did you mean train?"),
    (["train", "digits", "--batch-sise", "3"], "did you mean --batch-size?"),
]


MISTAKES = [
    (["--verison"], "There is no flag '--verison' of vkd; did you mean --version?"),
    (["train", "digit"], "There is no recipe 'digit'; did you mean digits?"),
    (["train", "digits", "--epochs", "x"], "--epochs must be a whole number, found x."),
    (["train", "digits", "--epochs", "0"], "--epochs must be at least 1, found 0."),
    (["train", "digits", "--projection", "orthogonl"], "did you mean orthogonal?"),
    (["train", "--epochs", "3"], "takes the recipe first"),
    (["train", "digits", "--feature-weight", "1", "--teacher", ""], "--teacher must be"),
    (["train", "digits", "--teacher-checkpoint", "nowhere"], "no checkpoint at nowhere"),
    (
        ["train", "digits", "--student", "conv_vit_digts", "--feature-weight", "0"],
        "did you mean conv_vit_digits?",
    ),
    (
        ["train", "fashion-mnist-teacher", "--data-path", "nowhere"],
        "install Debian's package dataset-fashion-mnist",
    ),
    (
        ["train", "digits", "--teacher", "cnn_digit"],
        "--teacher: there is no model 'cnn_digit'",
    ),
    (["train", "gan-digits", "--extractor", "foo"], "--extractor: there is no model 'foo'."),
    (["train", "digits", "--optimizer", "adamv"], "--optimizer adamv is none of timm's; did you"),
    (["train", "digits", "--optimizer", "sgd", "--beta1", "0.5"], "it has no beta1"),
    (["train", "digits", "--schedule", "cosinus"], "--schedule cosinus cannot be had"),
    (["train", "digits", "--schedule", "none"], "--schedule none cannot be had"),
    (["eval"], "--checkpoint is required."),
    (["eval", "--checkpoint", "nowhere"], "There is no checkpoint at nowhere."),
    (["report", "nowhere"], "nowhere is not a run folder"),
    (["demo", "--seeds", "1"], "--seeds must be from 2 to 1,000, found 1."),
]


@pytest.mark.parametrize(("arguments", "message"), QUICK_MISTAKES)
def test_a_mistake_ends_the_process_with_code_2(vkd_process, tmp_path, arguments, message):
    done = vkd_process(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_a_mistake_is_one_sentence(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert message in lines[0]


@pytest.mark.parametrize(
    ("recipe", "side"), [("digits", "student"), ("digits", "teacher"), ("gan-digits", "teacher")]
)
def test_a_layer_that_is_not_there_is_one_sentence(digits_teacher, tmp_path, capsys, recipe, side):
    networks = ["--teacher-checkpoint", str(digits_teacher)]
    if recipe == "gan-digits":
        networks += ["--extractor-checkpoint", str(digits_teacher)]
    layer = [f"--{side}-layer", "nrm", "--output", str(tmp_path / "run")]
    assert main(["train", recipe, *networks, *layer]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert f"--{side}-layer: " in lines[0]
    assert "has no layer 'nrm'" in lines[0]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_device_that_is_not_there_is_named(capsys, tmp_path):
    arguments = ["train", "digits", "--device", "cuda", "--output", str(tmp_path / "run")]
    assert main(arguments) == 2
    assert "--device cuda is not available" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_help_lists_only_commands_that_work(vkd, capsys):
    commands = re.findall(r"^  (\w+) ", vkd("--help").stdout, re.MULTILINE)
    assert commands == [
        "demo", "init", "train", "eval", "compare", "replay", "predict", "search", "check", "cache",
        "convert", "export", "bench", "publish", "report", "recipes", "models", "layers",
        "completion",
    ]  # fmt: skip
    for command in commands:
        assert main([command, "--help"]) == 0
        assert "usage: vkd" in capsys.readouterr().out
    assert "--batch-size" in vkd("train", "digits", "--help").stdout


def test_lists_recipes_and_models(capsys):
    assert main(["recipes"]) == main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "conv_vit_digits" in lines
    assert any(line.startswith("digits ") for line in lines)
