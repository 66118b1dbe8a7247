"""What all methods have from their base."""

import pytest
import torch
from torch import nn

from vkd.errors import UserError
from vkd.methods.crd import CRD
from vkd.methods.fitnet import FitNet
from vkd.methods.method import Method, Signals, Sizes, needed
from vkd.methods.srd import SRD
from vkd.methods.vkd import VkD

SIZES = Sizes(student_dim=4, teacher_dim=6, samples=8)


class Labelled(Method):
    needs = frozenset({"indices", "teacher_logits", "labels"})


def test_a_task_lacks_all_sizes_that_it_does_not_give():
    assert Sizes() == Sizes(student_dim=0, teacher_dim=0, classes=0, samples=0)
    assert Labelled(SIZES).sizes is SIZES


def test_needed_signals_come_in_the_order_of_signals():
    signals = Signals(*(torch.full((1,), i) for i in range(6)))
    assert [int(signal) for signal in needed(signals, Labelled(SIZES))] == [3, 4, 5]
    with pytest.raises(UserError, match=r"^Labelled needs labels, which are not given\.$"):
        needed(signals._replace(labels=None), Labelled(SIZES))


def test_signals_that_are_not_given_are_none():
    assert Signals() == (None,) * 6


def test_methods_compare_features_one_by_one_without_a_projection_unless_they_say_more():
    assert Method.needs == {"student_features", "teacher_features"}
    assert Method.recipe_fields == frozenset()
    assert not Method.relational
    method, features = Labelled(SIZES), torch.randn(3, 6)
    with pytest.raises(NotImplementedError):
        method(Signals())
    assert method.projection_weight() is None
    assert method.target(features) is features
    assert method.load_projection({"projection": torch.eye(6, 4)}) == {}
    assert method.saved_projection(method.state_dict()) == {}


@pytest.mark.parametrize("method", [VkD(SIZES), FitNet(SIZES), SRD(SIZES)])
def test_the_saved_projection_is_that_of_the_state_and_not_of_the_module(method):
    other = type(method)(SIZES)
    state = other.state_dict()
    saved = method.saved_projection(state)
    assert saved.keys() == {"projection"}
    assert saved["projection"].keys() == {"weight"}
    weight = saved["projection"]["weight"]
    assert torch.equal(weight, other.projection_weight())
    assert not torch.equal(weight, method.projection_weight())
    assert not weight.requires_grad


def test_a_state_without_some_parts_leaves_them_as_they_are():
    method = VkD(SIZES, both_sides=True)
    saved = method.saved_projection({})
    assert torch.equal(saved["projection"]["weight"], method.projection_weight())


def test_methods_without_a_matrix_save_none():
    for method in (VkD(SIZES, projection="mlp"), CRD(SIZES)):
        assert method.saved_projection(method.state_dict()) == {}


def test_loaded_projections_name_the_parameters_that_took_them():
    weight = torch.linalg.qr(torch.randn(6, 4))[0]
    plain, scaled = VkD(SIZES), VkD(SIZES, both_sides=True)
    assert plain.load_projection({"projection": weight}) == {
        "projection": "loss.projection.parameter"
    }
    torch.testing.assert_close(plain.projection_weight(), weight)
    parts = {"projection": weight, "weight": torch.arange(6.0), "bias": torch.arange(6.0) + 9}
    assert plain.load_projection(parts).keys() == {"projection"}
    assert scaled.load_projection(parts) == {
        "projection": "loss.projection.projection.parameter",
        "weight": "loss.projection.weight",
        "bias": "loss.projection.bias",
    }
    assert torch.equal(scaled.loss.projection.weight, parts["weight"])
    assert torch.equal(scaled.loss.projection.bias, parts["bias"])
    for part in ("weight", "bias"):
        rest = {name: value for name, value in parts.items() if name != part}
        assert scaled.load_projection(rest).keys() == {"projection"}


def test_projections_that_do_not_fit_are_not_taken():
    weight = torch.linalg.qr(torch.randn(6, 4))[0]
    for method in (
        VkD(SIZES, projection="linear"),
        FitNet(SIZES),
        VkD(Sizes(student_dim=3, teacher_dim=6)),
    ):
        before = method.projection_weight().clone()
        assert method.load_projection({"projection": weight}) == {}
        assert torch.equal(method.projection_weight(), before)
    with pytest.raises(ValueError, match="not orthonormal"):
        VkD(SIZES).load_projection({"projection": torch.ones(6, 4)})


def test_targets_are_what_projected_features_are_compared_with():
    features = torch.randn(5, 6)
    normalized = nn.functional.layer_norm(features, (6,))
    torch.testing.assert_close(VkD(SIZES).target(features), normalized)
    assert torch.equal(FitNet(SIZES).target(features), features)
    batch_normalized = nn.BatchNorm1d(6, eps=1e-4, affine=False)(features)
    torch.testing.assert_close(SRD(SIZES).target(features), batch_normalized)
    assert VkD(SIZES).target(features.half()).dtype == torch.float32
