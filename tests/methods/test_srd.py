"""SRD against its formula in numpy and by hand."""

from math import log

import numpy as np
import pytest
import torch

from vkd.errors import UserError
from vkd.methods.method import Signals, Sizes
from vkd.methods.srd import SRD

SIZES = Sizes(student_dim=4, teacher_dim=9)


def batch_norm(features):
    return (features - features.mean(0)) / np.sqrt(features.var(0) + 1e-4)


@pytest.mark.parametrize("alpha", [1.0, 2.5, 4.0])
def test_equals_its_formula(draw_signals, alpha):
    method, signals = SRD(SIZES, alpha=alpha), draw_signals()
    student, teacher, weight = (
        t.detach().double().numpy() for t in (*signals[:2], method.projection_weight())
    )
    differences = batch_norm(student @ weight.T) - batch_norm(teacher)
    expected = log((np.abs(differences) ** alpha).sum())
    assert method(signals).item() == pytest.approx(expected, rel=1e-4)


def test_by_hand():
    # Normalised to 1, -1 and -1, 1: two differences of 2, whose fourth powers sum to 32.
    method = SRD(Sizes(student_dim=1, teacher_dim=1))
    torch.nn.init.ones_(method.projection.weight)
    signals = Signals(torch.tensor([[1000.0], [0.0]]), torch.tensor([[0.0], [3000.0]]))
    assert method(signals).item() == pytest.approx(log(32), rel=1e-5)


def test_equal_features_keep_it_finite():
    method = SRD(Sizes(student_dim=1, teacher_dim=1))
    torch.nn.init.ones_(method.projection.weight)
    features = torch.tensor([[1.0], [2.0]], requires_grad=True)
    loss = method(Signals(features, features))
    loss.backward()
    assert loss.isfinite()
    assert features.grad.isfinite().all()


def test_gradients_reach_the_student_and_the_projection_only(draw_signals):
    method, signals = SRD(SIZES), draw_signals()
    method(signals).backward()
    assert signals.student_features.grad.abs().sum() > 0
    assert method.projection.weight.grad.abs().sum() > 0
    assert signals.teacher_features.grad is None


def test_errors_name_what_is_wrong(draw_signals):
    with pytest.raises(UserError, match=r"alpha must be .* at least 1, found 0.5"):
        SRD(SIZES, alpha=0.5)
    with pytest.raises(UserError, match=r"teacher_dim must be .* at least 1, found 0"):
        SRD(Sizes(student_dim=4))
    with pytest.raises(UserError, match="at least 2 samples, found 1"):
        SRD(SIZES)(draw_signals(rows=1))


def test_its_projection_has_no_bias():
    # Which the batch normalisation would cancel.
    assert [name for name, _ in SRD(SIZES).named_parameters()] == ["projection.weight"]


def test_its_target_is_the_batch_normalised_teacher(draw_signals):
    method, signals = SRD(SIZES), draw_signals()
    teacher = signals.teacher_features.detach().double().numpy()
    target = method.target(signals.teacher_features).detach()
    np.testing.assert_allclose(target, batch_norm(teacher), rtol=1e-4, atol=1e-5)
