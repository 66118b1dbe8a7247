"""Projectors of the paper's release against torch's own computation."""

import torch
from torch import nn
from torch.nn.utils.parametrizations import orthogonal

from vkd import OrthogonalProjection
from vkd.models.checkpoints import read_projection
from vkd.models.release import householder_weight


def test_a_projector_converts_to_the_matrix_torch_computes(tmp_path):
    torch.manual_seed(0)
    theirs = orthogonal(nn.Linear(16, 40, bias=False))
    original = theirs.parametrizations.weight.original
    with torch.no_grad():
        original += 0.1 * torch.randn_like(original).tril(-1)
        original[range(16), range(16)] = torch.where(torch.rand(16) < 0.5, -1.0, 1.0)
    keys = {f"module.projector.{key}": value for key, value in theirs.state_dict().items()}
    torch.save({"student": {**keys, "module.norm.weight": torch.ones(1)}}, tmp_path / "p.pth")
    weight = read_projection(tmp_path / "p.pth")
    torch.testing.assert_close(weight, theirs.weight.detach(), atol=1e-5, rtol=1e-5)
    projection = OrthogonalProjection(16, 40)
    projection.load_weight(weight)
    torch.testing.assert_close(projection.weight, weight, atol=1e-5, rtol=1e-5)


def test_a_projector_that_weight_decay_killed_in_torch_is_read_by_its_sign():
    torch.manual_seed(0)
    theirs = orthogonal(nn.Linear(8, 20, bias=False))
    before = theirs.weight.detach().clone()
    original = theirs.parametrizations.weight.original
    with torch.no_grad():
        original.mul_(1 - 5e-4 * 0.05)
    assert theirs.weight.norm() < 1e-3
    weight = householder_weight(original.detach(), theirs.parametrizations.weight[0].base)
    torch.testing.assert_close(weight, before, atol=1e-5, rtol=1e-5)
