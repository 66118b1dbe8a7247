"""DKD against loops, and against KD, which it decouples."""

from math import exp, log

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from vkd.errors import UserError
from vkd.methods.dkd import DKD
from vkd.methods.kd import KD
from vkd.methods.method import Signals, Sizes


def shares(logits, temperature):
    exponentials = [exp(value / temperature) for value in logits]
    return [value / sum(exponentials) for value in exponentials]


def terms(student, teacher, target, temperature):
    """KL of target against the rest, KL among the rest, and the teacher's target share."""
    q, p = shares(student, temperature), shares(teacher, temperature)
    q_t, p_t = q[target], p[target]
    target_part = p_t * log(p_t / q_t) + (1 - p_t) * log((1 - p_t) / (1 - q_t))
    others_part = 0.0
    for c in range(len(p)):
        if c != target:
            ours, known = q[c] / (1 - q_t), p[c] / (1 - p_t)
            others_part += known * log(known / ours)
    return target_part, others_part, p_t


def loop_terms(signals, temperature):
    rows = zip(*(signals[i].tolist() for i in (2, 3, 4)), strict=True)
    return [terms(*row, temperature) for row in rows]


@given(
    temperature=st.floats(0.5, 8),
    alpha=st.floats(0, 3),
    beta=st.floats(0, 10),
    classes=st.integers(2, 6),
    seed=st.integers(0, 99),
)
def test_equals_loops(temperature, alpha, beta, classes, seed):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, 6, classes, generator=generator)
    labels = torch.randint(classes, (6,), generator=generator)
    signals = Signals(student_logits=student, teacher_logits=teacher, labels=labels)
    method = DKD(Sizes(), temperature=temperature, alpha=alpha, beta=beta)
    rows = loop_terms(signals, temperature)
    expected = temperature**2 * sum(alpha * t + beta * o for t, o, _ in rows) / 6
    assert method(signals).item() == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_kd_weighs_the_others_by_their_share(draw_signals):
    signals = draw_signals()
    rows = loop_terms(signals, 3.0)
    expected = 9 * sum(t + (1 - p) * o for t, o, p in rows) / len(rows)
    assert KD(Sizes(), temperature=3.0)(signals).item() == pytest.approx(expected, rel=1e-4)


def test_of_mixed_labels_the_largest_share_is_the_target(draw_signals):
    signals = draw_signals()
    mixed = 0.6 * F.one_hot(signals.labels, 5) + 0.4 * F.one_hot((signals.labels + 1) % 5, 5)
    method = DKD(Sizes())
    torch.testing.assert_close(method(signals._replace(labels=mixed)), method(signals))


def test_certain_teachers_keep_it_finite(draw_signals):
    signals = draw_signals()
    certain = 1e4 * F.one_hot(signals.labels, 5).float()
    loss = DKD(Sizes(), temperature=1.0)(signals._replace(teacher_logits=certain))
    loss.backward()
    assert loss.isfinite()
    assert signals.student_logits.grad.isfinite().all()


def test_gradients_reach_the_student_only(draw_signals):
    signals = draw_signals()
    DKD(Sizes())(signals).backward()
    assert signals.student_logits.grad.abs().sum() > 0
    assert signals.teacher_logits.grad is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0}, "temperature must be a number above 0, found 0"),
        ({"alpha": -1.0}, "alpha must be a number of at least 0, found -1"),
        ({"beta": float("nan")}, "beta must be a number of at least 0, found nan"),
    ],
)
def test_errors_name_the_argument(options, message):
    with pytest.raises(UserError, match=message):
        DKD(Sizes(), **options)


def test_one_class_is_too_few(draw_signals):
    with pytest.raises(UserError, match="at least 2 classes, found 1"):
        DKD(Sizes())(draw_signals(classes=1))
