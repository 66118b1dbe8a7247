"""The command of the paper's release for DeiT."""

import importlib.util
import re

import pytest
import timm
import torch
from safetensors.torch import load_file

from support.commands import PAPER, launch_release, run_release
from support.photographs import CLASSES, parts
from vkd.api.evaluate import evaluate
from vkd.models import create_model
from vkd.training.records import read_metrics


@pytest.fixture(scope="module")
def main_distributed():
    """The release's command as a module."""
    spec = importlib.util.spec_from_file_location("main_distributed", PAPER / "main_distributed.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A teacher's and a student's file in the release's layouts, for three classes."""
    place = tmp_path_factory.mktemp("files")
    torch.manual_seed(0)
    teacher = timm.create_model("regnety_160", num_classes=CLASSES)
    torch.save({"model": teacher.state_dict()}, place / "teacher.pth")
    student = create_model("deit_ti_distilled", num_classes=CLASSES, img_size=32)
    state = {
        f"module.{key}".replace("patch_embed.", "conv_embed."): value
        for key, value in student.state_dict().items()
    }
    torch.save({"student": state, "epoch": 1}, place / "student.pth")
    return place


@pytest.mark.slow
def test_the_releases_train_command_runs(photographs, files, tmp_path):
    done = launch_release(
        "main_distributed.py", "--teacher", "regnety_160", "--student-model", "deit_ti_distilled",
        "--batch-size", 4, "--data-path", photographs, "--output_dir", tmp_path / "output",
        "--epochs", 1, "--input-size", 32, "--num_workers", 0,
        "--teacher-path", files / "teacher.pth", "--aa", "rand-m9", processes=2, port=12349,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "--aa has no effect" in done.stderr
    record = read_metrics(tmp_path / "output")[0]
    assert set(record["train"]) == {"feature", "logit", "label", "loss"}
    assert record["updates"] == 3
    rows = (tmp_path / "output" / "r0_val.csv").read_text().splitlines()
    accuracy, top5 = (record["validation"][name] for name in ("accuracy", "top5"))
    assert rows == ["epoch,acc1,acc5", f"0,{accuracy:.5f},{top5:.5f}"]
    assert f" * Acc@1 {accuracy:.3f} Acc@5 {top5:.3f}" in done.stdout
    assert (tmp_path / "output" / "r0_train.csv").read_text().startswith("epoch,itr,xe_loss,")
    assert record["lr"] < 5e-4 * 8 / 512 + 1e-9
    # What two processes measured together is what one measures.
    alone = evaluate(str(tmp_path / "output"), device="cpu")
    for name in ("accuracy", "top5", "loss"):
        assert record["validation"][name] == pytest.approx(alone[name], rel=1e-4), name
    card = (tmp_path / "output" / "README.md").read_text()
    assert "library_name: vkd" in card
    assert "G multiply-adds" in card
    assert "projector" not in " ".join(load_file(tmp_path / "output" / "model.safetensors"))


@pytest.mark.slow
def test_the_releases_evaluate_command_counts_each_image_once(photographs, files, main_distributed):
    arguments = (
        "--teacher", "regnety_160", "--student-model", "deit_ti_distilled", "--eval-student",
        "--student-ckpt", files / "student.pth", "--batch-size", 4, "--data-path", photographs,
        "--input-size", 32, "--num_workers", 0,
    )  # fmt: skip
    model = create_model("deit_ti_distilled", files / "student.pth", img_size=32).eval()
    _, validation, _ = parts(photographs)
    with torch.no_grad():
        images, labels, _ = zip(*[validation[i] for i in range(25)], strict=True)
        logits = model(torch.stack(images))
    expected = 100 * (logits.argmax(1) == torch.tensor(labels)).float().mean().item()
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(labels)).item()
    for processes, done in (
        (1, run_release(main_distributed, *arguments)),
        (3, launch_release("main_distributed.py", *arguments, processes=3, port=12350)),
    ):
        assert done.returncode == 0, done.stderr
        found = dict(re.findall(r"^(\w+): (\S+)$", done.stdout, re.MULTILINE))
        assert float(found["accuracy"]) == pytest.approx(expected, abs=1e-3), processes
        assert float(found["loss"]) == pytest.approx(loss, rel=1e-4), processes
        assert float(found["parameters"]) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--studnet-model", "x"], "did you mean --student-model"),
        (["--student-model", "deit_s_distilled", "--eval-student"],
         "--eval-student needs --student-ckpt"),
        ([], "--student-model is needed"),
        (["--batch-size", "many"], "--batch-size"),
    ],
)  # fmt: skip
def test_mistakes_in_the_releases_command_are_one_sentence(main_distributed, arguments, message):
    done = run_release(main_distributed, *arguments)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 1
    assert message in lines[0]


def test_flags_reach_their_fields(main_distributed):
    words = "--student-model deit_s_distilled --lr 1e-3 --alpha 0 --gamma 2 --student-ema --src"
    _, values = main_distributed.parse([*words.split(), "--student-ckpt", "x.pth"])
    expected = {
        "student": "deit_s_distilled", "lr": 1e-3, "feature_weight": 0.0, "logit_weight": 2.0,
        "ema_decay": 0.996, "ema_decay_end": 1.0, "crop": "simple", "student_checkpoint": "x.pth",
    }  # fmt: skip
    assert {name: values[name] for name in expected} == expected
