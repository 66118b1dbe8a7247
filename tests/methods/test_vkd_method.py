"""VkD and FitNet against their formulas written out in numpy."""

import numpy as np
import pytest
import torch

from vkd.errors import UserError
from vkd.methods.fitnet import FitNet
from vkd.methods.method import Signals, Sizes
from vkd.methods.vkd import VkD

SIZES = Sizes(student_dim=4, teacher_dim=9)


def smooth_l1(errors):
    return np.where(np.abs(errors) < 1, 0.5 * errors**2, np.abs(errors) - 0.5).mean()


def arrays(*tensors):
    return [tensor.detach().double().numpy() for tensor in tensors]


def test_vkd_equals_its_formula(draw_signals):
    method, signals = VkD(SIZES), draw_signals()
    student, teacher, weight = arrays(*signals[:2], method.projection_weight())
    np.testing.assert_allclose(weight.T @ weight, np.eye(4), atol=1e-5)
    mean, variance = teacher.mean(1, keepdims=True), teacher.var(1, keepdims=True)
    expected = smooth_l1(student @ weight.T - (teacher - mean) / np.sqrt(variance + 1e-5))
    assert method(signals).item() == pytest.approx(expected, rel=1e-5)


def test_both_sides_scales_shifts_and_normalises_the_student(draw_signals):
    method = VkD(SIZES, normalization="standardize", both_sides=True, distance="mse")
    scaled, signals = method.loss.projection, draw_signals()
    with torch.no_grad():
        scaled.weight.uniform_(0.5, 2)
        scaled.bias.uniform_(-1, 1)
    student, teacher, weight = arrays(*signals[:2], method.projection_weight())
    scale, shift = arrays(scaled.weight, scaled.bias)
    student = student @ weight.T * scale + shift
    student = (student - student.mean(0)) / student.std(0, ddof=1)
    teacher = (teacher - teacher.mean(0)) / teacher.std(0, ddof=1)
    expected = np.square(student - teacher).mean()
    assert method(signals).item() == pytest.approx(expected, rel=1e-4)


def test_fitnet_equals_its_formula(draw_signals):
    method, signals = FitNet(SIZES, distance="mse"), draw_signals()
    student, teacher, weight = arrays(*signals[:2], method.projection_weight())
    expected = np.square(student @ weight.T - teacher).mean()
    assert method(signals).item() == pytest.approx(expected, rel=1e-5)


def test_fitnet_scales_and_shifts_the_student_where_it_is_asked_to(draw_signals):
    method, signals = FitNet(SIZES, distance="mse", both_sides=True), draw_signals()
    method.loss.projection.weight.data.fill_(2.0)
    method.loss.projection.bias.data.fill_(-1.0)
    student, teacher, weight = arrays(*signals[:2], method.projection_weight())
    expected = np.square(2 * student @ weight.T - 1 - teacher).mean()
    assert method(signals).item() == pytest.approx(expected, rel=1e-5)
    names = {name for name, _ in FitNet(SIZES).named_parameters()}
    assert names == {"loss.projection.weight"}


@pytest.mark.parametrize("both_sides", [False, True])
@pytest.mark.parametrize("projection", ["orthogonal", "linear", "mlp"])
def test_gradients_reach_the_student_and_the_projection_only(draw_signals, projection, both_sides):
    method, signals = VkD(SIZES, projection=projection, both_sides=both_sides), draw_signals()
    method(signals).backward()
    assert signals.student_features.grad.abs().sum() > 0
    assert all(parameter.grad.abs().sum() > 0 for parameter in method.parameters())
    assert signals.teacher_features.grad is None


def test_only_linear_projections_have_a_weight():
    square = Sizes(student_dim=4, teacher_dim=4)
    for name in ("orthogonal", "linear"):
        assert VkD(SIZES, projection=name).projection_weight().shape == (9, 4)
        assert VkD(SIZES, projection=name, both_sides=True).projection_weight().shape == (9, 4)
    for name in ("mlp", "identity"):
        assert VkD(square, projection=name).projection_weight() is None


def test_computes_in_float32_under_autocast(draw_signals):
    method, signals = VkD(SIZES, projection="linear"), draw_signals()
    expected = method(signals)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(method(signals), expected)
    halves = Signals(*[s.to(torch.bfloat16) for s in signals[:2]])
    assert method(halves).dtype == torch.float32


def test_takes_functions():
    method = VkD(
        Sizes(student_dim=3, teacher_dim=3),
        projection="identity",
        normalization=lambda features: 2 * features,
        distance=lambda ours, known: (ours - known).abs().max(),
    )
    student, teacher = torch.randn(5, 3), torch.randn(5, 3)
    assert method(Signals(student, teacher)) == (student - 2 * teacher).abs().max()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"projection": "orthogonl"}, "projection must be .* found 'orthogonl'; did you mean orth"),
        ({"normalization": "layernorm"}, "normalization .* did you mean layer_norm"),
        ({"distance": "l7"}, "distance must be one of smooth_l1, l1, mse, found 'l7'"),
        ({"projection": "identity"}, "projection: Without .* found 4 and 9"),
    ],
)
def test_errors_name_the_argument(options, message):
    with pytest.raises(UserError, match=message):
        VkD(SIZES, **options)


def test_absent_signals_are_named():
    with pytest.raises(UserError, match="VkD needs teacher_features"):
        VkD(SIZES)(Signals(student_features=torch.randn(2, 4)))


def test_scale_and_shift_come_after_the_projection():
    plain = VkD(SIZES, normalization="identity", both_sides=True, distance="mse")
    scaled, features = plain.loss.projection, torch.randn(5, 4)
    with torch.no_grad():
        scaled.weight.uniform_(2, 3)
        scaled.bias.uniform_(1, 2)
    expected = features @ plain.projection_weight().T * scaled.weight + scaled.bias
    torch.testing.assert_close(scaled(features), expected)
    assert VkD.recipe_fields == {
        "projection", "normalization", "distance", "both_sides", "standardize_student"
    }  # fmt: skip


def test_a_standardised_student_reaches_its_target_whatever_its_scale():
    method = VkD(SIZES, normalization="identity", standardize_student=True, distance="mse")
    features = torch.randn(50, 4)
    signals = Signals(student_features=features, teacher_features=torch.randn(50, 9))
    loss = method(signals)
    small = signals._replace(student_features=3 + features / 1000)
    assert method(small).item() == pytest.approx(loss.item(), rel=1e-2)
    student, weight = arrays(features, method.projection_weight())
    standardised = (student - student.mean(0)) / student.std(0, ddof=1)
    with torch.no_grad():
        method.loss.projection.scale.fill_(0.5)
    expected = 0.5 * standardised @ weight.T
    np.testing.assert_allclose(method.loss.projection(features).detach(), expected, atol=1e-4)
    with pytest.raises(UserError, match="both normalise the student"):
        VkD(SIZES, both_sides=True, standardize_student=True)


def test_a_function_normalises_both_sides(draw_signals):
    method = VkD(SIZES, normalization=torch.sign, both_sides=True, distance="l1")
    signals = draw_signals()
    student, teacher, weight = arrays(*signals[:2], method.projection_weight())
    expected = np.abs(np.sign(student @ weight.T) - np.sign(teacher)).mean()
    assert method(signals).item() == pytest.approx(expected, rel=1e-5)
