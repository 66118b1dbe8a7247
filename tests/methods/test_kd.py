"""KD against Hinton's formula in numpy."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vkd.errors import UserError
from vkd.methods.kd import KD
from vkd.methods.method import Signals, Sizes


def softmax(logits):
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    return exponentials / exponentials.sum(1, keepdims=True)


@given(temperature=st.floats(0.5, 10), seed=st.integers(0, 99))
def test_equals_its_formula(temperature, seed):
    student, teacher = np.random.default_rng(seed).normal(size=(2, 6, 5))
    p, q = softmax(teacher / temperature), softmax(student / temperature)
    expected = temperature**2 * (p * np.log(p / q)).sum(1).mean()
    signals = Signals(
        student_logits=torch.tensor(student, dtype=torch.float32),
        teacher_logits=torch.tensor(teacher, dtype=torch.float32),
    )
    loss = KD(Sizes(), temperature=temperature)(signals).item()
    assert loss == pytest.approx(expected, rel=1e-3, abs=1e-5)


def test_gradients_reach_the_student_only(draw_signals):
    signals = draw_signals()
    KD(Sizes())(signals).backward()
    assert signals.student_logits.grad.abs().sum() > 0
    assert signals.teacher_logits.grad is None


@pytest.mark.parametrize("temperature", [0, -1.0, float("nan"), float("inf")])
def test_temperature_must_be_above_0(temperature):
    with pytest.raises(UserError, match="temperature must be a number above 0, found"):
        KD(Sizes(), temperature=temperature)


def test_classes_must_be_equal():
    signals = Signals(student_logits=torch.randn(6, 10), teacher_logits=torch.randn(6, 7))
    with pytest.raises(UserError, match=r"\(6, 10\).*\(6, 7\).*features alone"):
        KD(Sizes())(signals)
