"""``vkd`` as users call it, in real processes."""

import json
import re
import time

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from vkd.cli import main
from vkd.demo.results import grid_cells


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["train", "digits", "--epoch", "3"]]
)
def test_answers_within_a_second_without_torch(vkd, arguments):
    took = []
    for _ in range(3):
        began = time.perf_counter()
        vkd(*arguments)
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
    (["train", "digits", "--optimizer", "sgd", "--beta1", "0.5"], "it has no --beta1"),
    (["train", "digits", "--schedule", "cosinus"], "--schedule cosinus cannot be had"),
    (["train", "digits", "--schedule", "none"], "--schedule none cannot be had"),
    (["eval"], "--checkpoint is required."),
    (["eval", "--checkpoint", "nowhere"], "There is no checkpoint at nowhere."),
    (["report", "nowhere"], "nowhere is not a run folder"),
    (["demo", "--seeds", "1"], "--seeds must be at least 2, found 1."),
]


@pytest.mark.parametrize(("arguments", "message"), QUICK_MISTAKES)
def test_a_mistake_ends_the_process_with_code_2(vkd, tmp_path, arguments, message):
    done = vkd(*arguments, cwd=tmp_path)
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
        "demo",
        "train",
        "eval",
        "compare",
        "predict",
        "cache",
        "convert",
        "export",
        "report",
        "recipes",
        "models",
    ]
    for command in commands:
        assert main([command, "--help"]) == 0
        assert "usage: vkd" in capsys.readouterr().out
    assert "--batch-size" in vkd("train", "digits", "--help").stdout


def test_lists_recipes_and_models(capsys):
    assert main(["recipes"]) == main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "conv_vit_digits" in lines
    assert any(line.startswith("digits ") for line in lines)


@pytest.fixture(scope="module")
def run(vkd, digits_teacher, tmp_path_factory):
    folder = tmp_path_factory.mktemp("command") / "run"
    done = vkd(
        "train", "digits", "--output", folder, "--epochs", 12, "--lr", 0.004, "--device", "cpu",
        "--teacher-checkpoint", digits_teacher,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(r"epoch 12/12 .*feature .*accuracy .*lr .*left", done.stderr)
    return folder


def test_a_run_folder_holds_what_it_should(run):
    names = {path.name for path in run.iterdir()}
    assert names >= {"recipe.yaml", "metrics.jsonl", "model.safetensors", "tensorboard"}
    assert list((run / "tensorboard").glob("events.out.tfevents.*"))


def test_eval_and_predict_work_from_a_run_and_from_the_file_alone(vkd, run, tmp_path):
    evaluated = vkd("eval", "--checkpoint", run)
    alone = vkd("eval", "--checkpoint", run / "model.safetensors")
    assert evaluated.stdout.splitlines()[:-1] == alone.stdout.splitlines()[:-1]
    accuracy = float(re.search(r"accuracy: ([\d.]+)", evaluated.stdout)[1])
    assert accuracy > 60
    digits = load_digits()
    paths = []
    for index in range(20):
        paths.append(tmp_path / f"{index}.png")
        pixels = (digits.images[index] / 16 * 255).round().astype(np.uint8)
        Image.fromarray(pixels).save(paths[-1])
    lines = vkd("predict", *paths, "--checkpoint", run).stdout.splitlines()
    records = [json.loads(line) for line in lines]
    assert [record["image"] for record in records] == [str(path) for path in paths]
    right = [int(r["class"]) == t for r, t in zip(records, digits.target[:20], strict=True)]
    assert sum(right) >= 11


def test_predict_refuses_what_is_not_an_image(run, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("no picture")
    assert main(["predict", str(tmp_path / "notes.txt"), "--checkpoint", str(run)]) == 2
    assert "notes.txt is not an image" in capsys.readouterr().err


def test_eval_refuses_other_files_in_one_sentence(tmp_path, capsys):
    (tmp_path / "weights.pth").write_bytes(b"not a checkpoint at all")
    weights = str(tmp_path / "weights.pth")
    assert main(["eval", "--checkpoint", weights]) == 2
    assert "name it with --recipe" in capsys.readouterr().err
    assert main(["eval", "--checkpoint", weights, "--recipe", "digits"]) == 2
    assert "not a checkpoint" in capsys.readouterr().err


def test_report_is_one_self_contained_page(vkd, run, digits_teacher, tmp_path):
    page = tmp_path / "report.html"
    assert vkd("report", run, digits_teacher, "--output", page).returncode == 0
    text = page.read_text()
    assert text.count("<svg") >= 3
    assert not re.search(r'(src|href)="(?!#)', text)
    for part in ("Orthogonality", "feature_weight", "torch:", "validation accuracy"):
        assert part in text
    assert main(["report", str(run), "--output", str(page)]) == 2
    assert page.read_text() == text


@pytest.mark.slow
@pytest.mark.parametrize("grid", [False, True])
def test_demo_writes_its_contract(vkd, tmp_path, grid):
    more = ("--seeds", 2, "--grid", "true") if grid else ()
    done = vkd("demo", "--output", "demo", "--epochs", 1, *more, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "demo" / "results.json").read_text())
    methods = results["methods"]
    assert list(methods)[:4] == ["none", "logit", "linear", "vkd"]
    assert {len(method["accuracy"]) for method in methods.values()} == {2 if grid else 3}
    assert len(grid_cells(results)) == (12 if grid else 0)
    assert len(methods) == (14 if grid else 4)
    assert ("Projection x normalisation" in done.stdout) == grid
    assert 0 < results["teacher"] <= 100
    assert "95 % interval" in done.stdout
    assert (tmp_path / "demo" / "report.html").read_text().count("<svg") >= 4
    assert main(["demo", "--output", str(tmp_path / "demo")]) == 2


@pytest.mark.slow
def test_digits_trains_its_own_teacher_first(vkd, tmp_path):
    folder = tmp_path / "run"
    arguments = ["train", "digits", "--output", folder, "--epochs", 1, "--warmup-epochs", 0]
    assert vkd(*arguments).returncode == 0
    assert (folder / "teacher" / "model.safetensors").is_file()
    assert vkd(*arguments, "--resume").returncode == 0
