"""What maps student to teacher features."""

import pytest
import torch
from torch import nn

from vkd.methods.projections import PROJECTIONS
from vkd.projection import OrthogonalProjection


def test_kinds_and_shapes():
    assert isinstance(PROJECTIONS["orthogonal"](4, 9), OrthogonalProjection)
    linear = PROJECTIONS["linear"](4, 9)
    assert isinstance(linear, nn.Linear)
    assert linear.bias is None
    assert set(PROJECTIONS["mlp"](4, 9).state_dict()) == {
        "0.weight",
        "0.bias",
        "2.weight",
        "2.bias",
    }
    features = torch.randn(3, 4)
    assert PROJECTIONS["identity"](4, 4)(features) is features
    for name in ("orthogonal", "linear", "mlp"):
        assert PROJECTIONS[name](4, 9)(features).shape == (3, 9)


def test_identity_needs_equal_numbers():
    with pytest.raises(ValueError, match="found 4 and 9"):
        PROJECTIONS["identity"](4, 9)
