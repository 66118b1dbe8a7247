"""DIST against numpy's correlations."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vkd.errors import UserError
from vkd.methods.dist import DIST, pearson
from vkd.methods.method import Sizes


def correlation(first, second):
    return np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(first, second, strict=True)])


@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize(("beta", "gamma"), [(1, 1), (2, 0), (0, 0.5)])
def test_equals_its_formula(draw_signals, beta, gamma, temperature):
    signals = draw_signals()
    ours, known = (
        (logits.detach() / temperature).softmax(1).double().numpy() for logits in signals[2:4]
    )
    expected = beta * (1 - correlation(ours, known)) + gamma * (1 - correlation(ours.T, known.T))
    loss = DIST(Sizes(), beta=beta, gamma=gamma, temperature=temperature)(signals)
    assert loss.item() == pytest.approx(temperature**2 * expected, rel=1e-4)


@given(scale=st.floats(0.1, 10), shift=st.floats(-5, 5), seed=st.integers(0, 99))
def test_correlation_is_1_for_positively_affine_rows(scale, shift, seed):
    rows = torch.randn(4, 6, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(pearson(scale * rows + shift, rows), torch.ones(4))
    torch.testing.assert_close(pearson(-scale * rows + shift, rows), -torch.ones(4))


def test_is_zero_for_logits_shifted_row_by_row(draw_signals):
    signals = draw_signals()
    shifted = signals.teacher_logits + torch.randn(6, 1)
    loss = DIST(Sizes())(signals._replace(student_logits=shifted))
    assert loss.abs() < 1e-5


def test_equal_shares_keep_it_finite(draw_signals):
    signals = draw_signals()
    flat = torch.zeros(6, 5, requires_grad=True)
    DIST(Sizes())(signals._replace(student_logits=flat)).backward()
    assert flat.grad.isfinite().all()


def test_gradients_reach_the_student_only(draw_signals):
    signals = draw_signals()
    DIST(Sizes())(signals).backward()
    assert signals.student_logits.grad.abs().sum() > 0
    assert signals.teacher_logits.grad is None


@pytest.mark.parametrize("option", ["beta", "gamma", "temperature"])
def test_errors_name_the_argument(option):
    with pytest.raises(UserError, match=f"{option} must be .*, found -1"):
        DIST(Sizes(), **{option: -1})
