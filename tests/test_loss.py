"""The loss against the paper's formula written out, and its rivals against theirs."""

import pytest
import torch
from torch.nn import functional as F

import vkd
from vkd.loss import FeatureLoss
from vkd.methods.kd import logit_loss
from vkd.methods.projections import PROJECTIONS


def test_equals_the_formula_written_out():
    loss = vkd.VkDLoss(4, 9)
    student, teacher = torch.randn(6, 4), torch.randn(6, 9)
    projected = student @ loss.projection.weight.T
    mean, variance = teacher.mean(1, keepdim=True), teacher.var(1, unbiased=False, keepdim=True)
    error = projected - (teacher - mean) / (variance + 1e-5).sqrt()
    expected = torch.where(error.abs() < 1, 0.5 * error**2, error.abs() - 0.5).mean()
    torch.testing.assert_close(loss(student, teacher), expected)


@pytest.mark.parametrize("normalization", ["layer_norm", "standardize", "whiten", "identity"])
@pytest.mark.parametrize("distance", ["smooth_l1", "l1", "mse"])
def test_every_choice_trains_the_student_and_not_the_teacher(normalization, distance):
    loss = vkd.VkDLoss(4, 9, normalization, distance)
    student = torch.randn(6, 4, requires_grad=True)
    teacher = torch.randn(6, 9, requires_grad=True)
    loss(student, teacher).backward()
    assert teacher.grad is None
    assert student.grad.abs().sum() > 0
    assert loss.projection.parameter.grad.abs().sum() > 0


def test_takes_functions_for_normalization_and_distance():
    loss = vkd.VkDLoss(3, 3, lambda x: 2 * x, lambda a, b: (a - b).abs().max())
    student, teacher = torch.randn(5, 3), torch.randn(5, 3)
    expected = (loss.projection(student) - 2 * teacher).abs().max()
    assert loss(student, teacher) == expected


@pytest.mark.parametrize("name", PROJECTIONS)
def test_rival_projections_fit_the_same_loss(name):
    teacher_dim = 4 if name == "identity" else 9
    loss = FeatureLoss(PROJECTIONS[name](4, teacher_dim))
    assert loss(torch.randn(6, 4), torch.randn(6, teacher_dim)).ndim == 0


def test_no_projection_needs_equal_dimensions():
    with pytest.raises(ValueError, match="found 4 and 9"):
        PROJECTIONS["identity"](4, 9)


def test_logit_loss_equals_hintons_formula():
    student, teacher = torch.randn(6, 10), torch.randn(6, 10)
    p, q = F.softmax(teacher / 3, 1), F.softmax(student / 3, 1)
    expected = 9 * (p * (p.log() - q.log())).sum(1).mean()
    torch.testing.assert_close(logit_loss(student, teacher, 3.0), expected)
    assert logit_loss(student, student).abs() < 1e-6
    assert torch.equal(logit_loss(student, teacher), logit_loss(student, teacher, 1.0))


def test_logit_loss_of_different_classes_says_what_to_do():
    with pytest.raises(ValueError, match=r"\(6, 10\).*\(6, 7\).*features alone"):
        logit_loss(torch.randn(6, 10), torch.randn(6, 7))


def test_errors_name_shapes_and_choices():
    loss = vkd.VkDLoss(4, 9)
    with pytest.raises(ValueError, match=r"Student features .*\(2, 3, 4\)"):
        loss(torch.randn(2, 3, 4), torch.randn(2, 9))
    with pytest.raises(ValueError, match=r"\(6, 9\).*\(5, 9\)"):
        loss(torch.randn(6, 4), torch.randn(5, 9))
    with pytest.raises(ValueError, match=r"^Teacher features .*\(9,\)"):
        loss(torch.randn(2, 4), torch.randn(9))
    known = "layer_norm, standardize, whiten, identity"
    for wrong, hint in (("layernorm", "; did you mean 'layer_norm'"), ("7", "")):
        with pytest.raises(ValueError, match=f"^normalization .* {known}, found '{wrong}'{hint}.$"):
            vkd.VkDLoss(4, 9, wrong)
    with pytest.raises(
        ValueError, match=r"^distance .* l1, mse, found 'mze'; did you mean 'mse'\.$"
    ):
        vkd.VkDLoss(4, 9, distance="mze")


@pytest.mark.parametrize("normalization", vkd.loss.NORMALIZATIONS)
def test_values_that_are_not_finite_make_a_loss_that_is_not(normalization):
    loss = vkd.VkDLoss(4, 9, normalization)
    student, teacher = torch.randn(16, 4, requires_grad=True), torch.randn(16, 9)
    for bad in (torch.nan, torch.inf):
        assert not loss(student, teacher.index_fill(0, torch.tensor([3]), bad)).isfinite()
        assert not loss(student * bad, teacher).isfinite()
    with torch.no_grad():
        loss.projection.parameter.fill_(torch.nan)
    found = loss(student, teacher)
    found.backward()
    assert not found.isfinite()


@pytest.mark.slow
def test_compiles_in_one_graph():
    loss = vkd.VkDLoss(4, 9)
    student, teacher = torch.randn(6, 4), torch.randn(6, 9)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(student, teacher), loss(student, teacher))
