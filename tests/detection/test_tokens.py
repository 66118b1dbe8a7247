"""Distillation of tokens."""

from functools import partial

import pytest
import torch

from vkd import create_model
from vkd.detection.task import DetectionTask
from vkd.detection.tokens import TokenLoss
from vkd.errors import UserError
from vkd.methods.vkd import VkD
from vkd.models.vidt.detector import Tokens
from vkd.recipe import config_of, read_recipe


def tokens(dim=16, batch=2, seed=0):
    torch.manual_seed(seed)
    maps = [torch.randn(batch, dim, side, side) for side in (8, 4, 2, 1)]
    return Tokens(maps, torch.randn(batch, 5, dim), torch.randn(3, batch, 5, dim))


def test_constant_features_give_no_nan_in_distillation():
    student, teacher = tokens(), tokens(24, seed=1)
    teacher.patches[0][:, 3] = 2.0
    student.patches[1].zero_()
    student.patches[1].requires_grad_()
    loss = TokenLoss(partial(VkD, normalization="standardize", both_sides=True), 16, 24)
    value = loss(student, teacher)
    value.backward()
    assert value.isfinite()
    assert student.patches[1].grad.isfinite().all()


def test_detectors_with_unlike_tokens_are_refused(tmp_path):
    other = create_model("vidt_digits_large", num_det_tokens=7)
    torch.save(other.state_dict(), tmp_path / "t.pth")
    values = read_recipe("digits-detection") | {"teacher_checkpoint": str(tmp_path / "t.pth")}
    with pytest.raises(UserError, match="7 detection tokens"):
        DetectionTask(config_of(values))
