"""The release's commands go on from its checkpoints, are killed, resume and evaluate."""

import importlib.util
import re

import pytest
import timm
import torch

from support.commands import PAPER, kill_release, run_release
from support.photographs import CLASSES
from support.release import deit_file, vidt_file
from support.release_training import training_file
from vkd.cli import main
from vkd.training.records import read_metrics

NAMES = {"deit": "main_distributed.py", "vidt": "vidt/main.py"}


def load(name):
    """One of the release's commands as a module."""
    script = PAPER / NAMES[name]
    spec = importlib.util.spec_from_file_location(f"going_on_{name}", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def deit():
    return load("deit")


@pytest.fixture(scope="module")
def vidt():
    return load("vidt")


def deit_arguments(photographs, teacher):
    return (
        "--teacher", "regnety_160", "--student-model", "deit_ti_distilled", "--batch-size", 8,
        "--data-path", photographs, "--input-size", 32, "--num_workers", 0, "--epochs", 4,
        "--teacher-path", teacher,
    )  # fmt: skip


def vidt_arguments(coco):
    return (
        "--method", "vidt", "--backbone_name", "swin_nano", "--batch_size", 2, "--num_workers", 0,
        "--aux_loss", "True", "--with_box_refine", "True", "--eval_size", 64, "--epochs", 7,
        "--coco_path", coco,
    )  # fmt: skip


def score(done, name):
    assert done.returncode == 0, done.stderr
    return float(re.search(rf"^{name}: (\S+)$", done.stdout, re.MULTILINE)[1])


@pytest.mark.slow
def test_deit_goes_on_is_killed_resumes_and_evaluates(photographs, deit, tmp_path):
    file, moments, _ = training_file(
        "deit_ti_distilled", tmp_path, "deit", epoch=1, classes=CLASSES, side=32, averaged=True
    )
    torch.manual_seed(0)
    teacher = timm.create_model("regnety_160", num_classes=CLASSES)
    torch.save({"model": teacher.state_dict()}, tmp_path / "teacher.pth")
    arguments, run = deit_arguments(photographs, tmp_path / "teacher.pth"), tmp_path / "run"
    states = run / "checkpoints"
    said = kill_release(
        NAMES["deit"], *arguments, "--resume", file, "--start_epoch", 1, "--student-ema",
        "--output_dir", run, until=states / "epoch-00003",
    )  # fmt: skip
    # All parameters but the matrix of the projection, of which there is one here too.
    assert f"moments of {len(moments) - 1} of {len(moments)} parameters are taken over" in said
    assert "moments of 1 of" in said
    done = run_release(
        deit, *arguments, "--student-ema", "--resume", run, "--start_epoch", 3
    )  # fmt: skip
    assert score(done, "accuracy") >= 0
    assert [record["epoch"] for record in read_metrics(run)] == [3, 4]
    assert read_metrics(run)[-1]["updates"] == 12
    evaluated = run_release(
        deit, *arguments, "--eval-student", "--student-ckpt", run / "model.safetensors"
    )
    assert score(evaluated, "accuracy") == pytest.approx(score(done, "accuracy"))
    assert "--teacher-path has no effect in an evaluation" in evaluated.stderr


@pytest.mark.slow
def test_vidt_goes_on_is_killed_resumes_and_evaluates(coco, vidt, tmp_path):
    file, moments, _ = training_file("vidt_nano_distilled", tmp_path, "vidt", epoch=4)
    converted = tmp_path / "teacher.safetensors"
    assert main(["convert", str(vidt_file("vidt_nano", tmp_path, "vidt_nano_distilled")),
                 str(converted)]) == 0  # fmt: skip
    run = tmp_path / "run"
    # The release's distilled student is a teacher, which the release itself cannot read.
    arguments = (*vidt_arguments(coco), "--distil_model", "vidt_nano", "--distil_model_path",
                 converted)  # fmt: skip
    # Weights to start from are not looked for, though the release's default is timm's.
    said = kill_release(
        NAMES["vidt"], *arguments, "--resume", file, "--pre_trained", tmp_path / "absent.pth",
        "--output_dir", run, until=run / "checkpoints" / "epoch-00006",
    )  # fmt: skip
    count = len(moments)
    assert f"moments of {count - 6} of {count} parameters are taken over" in said
    assert f"moments of 6 of {count} parameters have nothing here" in said
    assert "left out" not in said
    done = run_release(
        vidt, *arguments, "--pre_trained", tmp_path / "absent.pth", "--resume", run
    )  # fmt: skip
    assert score(done, "AP") >= 0
    assert [record["epoch"] for record in read_metrics(run)] == [6, 7]
    evaluated = run_release(
        vidt, *vidt_arguments(coco), "--eval", "True", "--resume", run / "model.safetensors"
    )
    assert score(evaluated, "AP") == pytest.approx(score(done, "AP"), abs=1e-3)


@pytest.mark.slow
def test_the_releases_distilled_classifier_is_a_teacher(photographs, deit, tmp_path):
    file, _, _ = training_file("deit_ti_distilled", tmp_path, "deit", classes=CLASSES, side=32)
    converted = tmp_path / "teacher.safetensors"
    assert main(["convert", str(file), str(converted)]) == 0
    done = run_release(
        deit, *deit_arguments(photographs, converted), "--epochs", 1, "--output_dir",
        tmp_path / "run", "--teacher", "deit_ti_distilled",
    )  # fmt: skip
    assert score(done, "accuracy") >= 0


def refused(command, *arguments):
    done = run_release(command, *arguments)
    assert done.returncode == 2, done.stderr
    last = done.stderr.splitlines()[-1]
    assert len(last) <= 320
    return last


def test_a_checkpoint_of_another_kind_is_refused_with_both_kinds(coco, vidt, deit, tmp_path):
    out = ("--output_dir", tmp_path / "run")
    arguments = (*vidt_arguments(coco), "--pre_trained", "none", *out)
    small = training_file("vidt_nano_wo_neck", tmp_path, "vidt")[0]
    found = refused(vidt, *arguments, "--resume", small)
    assert "(architecture vidt_wo_neck)" in found
    assert "(architecture vidt)" in found
    classifier = deit_file("deit_ti_distilled", tmp_path)
    found = refused(vidt, *arguments, "--resume", classifier)
    assert "deit_ti_distilled" in found
    assert "vidt_nano" in found
    found = refused(
        deit, "--student-model", "deit_s_distilled", "--data-path", tmp_path, *out, "--resume",
        classifier,
    )  # fmt: skip
    assert "is of deit_ti_distilled, and this run is of deit_s_distilled" in found
    found = refused(vidt, *arguments, "--with_box_refine", "False", "--resume",
                    training_file("vidt_nano", tmp_path, "vidt")[0])  # fmt: skip
    assert "box_refinement True" in found
    assert "box_refinement False" in found
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--resume", "absent"], "must be a checkpoint of the release or a run folder, found abs"),
        (["--resume", "FILE", "--start_epoch", "3"], "must be 0 or 1 or 2 as --resume has it, fou"),
        (["--start_epoch", "x"], "must be a whole number, found x"),
    ],
)
def test_what_cannot_be_gone_on_from_is_refused(vidt, coco, tmp_path, words, message):
    if "FILE" in words:
        file = training_file("vidt_nano_wo_neck", tmp_path, "vidt", epoch=1)[0]
        words = [file if word == "FILE" else word for word in words]
    assert message in refused(vidt, *vidt_arguments(coco), "--pre_trained", "none", *words)
