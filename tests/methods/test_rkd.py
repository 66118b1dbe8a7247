"""RKD against loops, and what it is blind to."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vkd.errors import UserError
from vkd.methods.method import Signals, Sizes
from vkd.methods.rkd import RKD


def huber(error):
    return 0.5 * error**2 if abs(error) < 1 else abs(error) - 0.5


def relations(features):
    count = len(features)
    distances = np.zeros((count, count))
    angles = np.zeros((count, count, count))
    for i in range(count):
        for j in range(count):
            distances[i, j] = np.sqrt(np.square(features[i] - features[j]).sum())
    for i in range(count):
        for j in range(count):
            for k in range(count):
                if i not in (j, k):
                    product = (features[j] - features[i]) @ (features[k] - features[i])
                    angles[i, j, k] = product / distances[i, j] / distances[i, k]
    return distances / distances[distances > 0].mean(), angles


@pytest.mark.parametrize(("a", "b"), [(25, 50), (1, 0), (0, 1)])
def test_equals_loops(draw_signals, a, b):
    signals = draw_signals(rows=5)
    ours, known = (relations(f.detach().double().numpy()) for f in signals[:2])
    expected = a * np.vectorize(huber)(ours[0] - known[0]).mean()
    expected += b * np.vectorize(huber)(ours[1] - known[1]).mean()
    loss = RKD(Sizes(), distance_weight=a, angle_weight=b)(signals)
    assert loss.item() == pytest.approx(expected, rel=1e-4)


@given(scale=st.floats(0.1, 10), seed=st.integers(0, 99))
def test_is_blind_to_rotation_scale_and_shift(scale, seed):
    generator = torch.Generator().manual_seed(seed)
    teacher = torch.randn(6, 4, generator=generator)
    rotation = torch.linalg.qr(torch.randn(4, 4, generator=generator))[0]
    student = scale * teacher @ rotation + torch.randn(4, generator=generator)
    assert RKD(Sizes())(Signals(student, teacher)) < 1e-5


@pytest.mark.parametrize("rows", [1, 2, 4])
def test_collapsed_students_keep_it_finite(rows):
    student = torch.ones(rows, 4, requires_grad=True)
    loss = RKD(Sizes())(Signals(student, torch.randn(rows, 9)))
    loss.backward()
    assert loss.isfinite()
    assert student.grad.isfinite().all()


def test_gradients_reach_the_student_only(draw_signals):
    signals = draw_signals()
    RKD(Sizes())(signals).backward()
    assert signals.student_features.grad.abs().sum() > 0
    assert signals.teacher_features.grad is None


@pytest.mark.parametrize("option", ["distance_weight", "angle_weight"])
def test_errors_name_the_argument(option):
    with pytest.raises(UserError, match=f"{option} must be .* at least 0, found -1"):
        RKD(Sizes(), **{option: -1})
