"""``deterministic``: the same bits each time, or a sentence that names what cannot."""

import os

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from support import deterministic
from support.commands import SEARCH_PATH, run_python
from vkd.api.train import train
from vkd.errors import FieldError
from vkd.models.vidt import deformable_attention
from vkd.precision import AS_AROUND, FLOAT32
from vkd.recipe import recipe
from vkd.training import precision
from vkd.training.accelerator import make_accelerator
from vkd.training.determinism import settle_determinism
from vkd.training.precision import settle_precision

# Threads that spin would take the cores of other tests.
WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}
ALONE = {
    "method": "none", "feature_weight": 0, "trackers": "", "device": "cpu", "epochs": 1,
    "warmup_epochs": 0,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _as_before():
    yield
    settle_determinism(False)


@pytest.mark.slow
def test_two_processes_with_two_threads_compute_the_same_bits(tmp_path):
    for name in ("first", "second"):
        script = deterministic.__file__
        done = run_python(
            script, tmp_path / name, PYTHONPATH=SEARCH_PATH, OMP_NUM_THREADS="2", **WAITING
        )
        assert done.returncode == 0, done.stderr
    for task in ("classification", "detection"):
        first, second = (
            load_file(tmp_path / name / task / "model.safetensors") for name in ("first", "second")
        )
        assert all(torch.equal(first[name], second[name]) for name in first)


class Putting(nn.Module):
    """A classifier with an operation that has no deterministic form, on any device."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, 10)

    def forward(self, images):
        logits = self.head(images.flatten(1))
        first = torch.zeros(1, dtype=torch.int64)
        return logits.clone().put_(first, logits[0, :1], accumulate=False)


def test_an_operation_without_such_a_form_is_named(tmp_path):
    with pytest.raises(FieldError, match=r"^deterministic: the operation put_ .*has no form"):
        train("digits", tmp_path / "run", student=Putting(), show=False, deterministic=True,
              **ALONE)  # fmt: skip


def test_it_ends_with_the_run_that_asked_for_it():
    before = torch.backends.cudnn.benchmark = True
    try:
        make_accelerator(recipe("digits", device="cpu", deterministic=True))
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.backends.cudnn.deterministic
        assert not torch.backends.cudnn.benchmark
        assert not torch.backends.cuda.matmul.allow_tf32
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        make_accelerator(recipe("digits", device="cpu"))
        assert not torch.are_deterministic_algorithms_enabled()
        assert torch.backends.cudnn.benchmark == before
    finally:
        torch.backends.cudnn.benchmark = False


def test_nothing_is_chosen_by_time(tmp_path, monkeypatch):
    def measure(*_):
        raise AssertionError("A deterministic run measures nothing.")

    monkeypatch.setattr(precision, "_measured", measure)
    accelerator = make_accelerator(recipe("digits", device="cpu", deterministic=True))
    teacher = type("Teacher", (), {"precision": AS_AROUND})()
    settle_precision(teacher, accelerator, tmp_path, resume=False)
    assert teacher.precision == FLOAT32


def test_the_kernel_whose_gradient_adds_in_any_order_is_left_out(monkeypatch):
    class OnCuda:
        is_cuda = True

    called = []
    monkeypatch.setattr(deformable_attention, "sample_levels", lambda *_: called.append("plain"))
    settle_determinism(True)
    deformable_attention.sample(OnCuda(), [], None, None)
    assert called == ["plain"]


def test_a_teacher_is_trained_as_its_student_is():
    config = recipe("digits", deterministic=True)
    (teacher,) = config.frozen_networks()
    assert teacher.changes["deterministic"] is True
