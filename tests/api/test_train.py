"""What a run that cannot begin, or ends at once, leaves behind."""

import subprocess
import sys

import pytest
from torch import nn

import vkd
from vkd.errors import UserError


def test_a_run_that_cannot_be_built_leaves_no_folder(tmp_path):
    fields = {"show": False, "device": "cpu"}
    with pytest.raises(UserError, match="not there"):
        vkd.train("deit-tiny-imagenet", tmp_path / "a", data_path=str(tmp_path / "x"), **fields)
    with pytest.raises(UserError):
        vkd.train("digits", tmp_path / "b", teacher_checkpoint=str(tmp_path / "y"), **fields)
    assert list(tmp_path.iterdir()) == []


def test_a_student_of_fewer_outputs_than_classes_is_refused_before_training(tmp_path):
    student = nn.Sequential(nn.Flatten(), nn.Linear(64, 7))
    with pytest.raises(UserError, match="student has 7 outputs, and the data have 10 classes"):
        vkd.train("digits-teacher", tmp_path / "run", student=student, show=False)


@pytest.mark.slow
def test_two_processes_that_diverge_end_in_one_sentence(tmp_path, digits_teacher):
    words = (
        "digits", "--teacher-checkpoint", digits_teacher, "--lr", "1e6", "--optimizer", "sgd",
        "--epochs", "2", "--warmup-epochs", "0", "--device", "cpu", "--output", tmp_path / "run",
    )  # fmt: skip
    launch = (sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2",
              "--master_port=12377", "-m", "vkd", "train")  # fmt: skip
    done = subprocess.run(
        [*map(str, (*launch, *words))], capture_output=True, text=True, timeout=240
    )
    assert done.returncode != 0
    said = {line for line in done.stderr.splitlines() if line.startswith("vkd: ")}
    assert len(said) == 1, done.stderr[-3000:]
    assert "in epoch 1; lower lr or set clip_grad" in said.pop()
