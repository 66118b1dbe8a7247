"""How like features are."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vkd.projection import OrthogonalProjection
from vkd.similarity import linear_cka, span_of


def by_the_formula(x, y):
    """HSIC of linear kernels, by the centring matrix, in N x N."""
    n = len(x)
    centring = torch.eye(n, dtype=torch.float64) - 1 / n

    def hsic(a, b):
        return torch.trace(a @ a.T @ centring @ b @ b.T @ centring)

    return float(hsic(x, y) / (hsic(x, x) * hsic(y, y)).sqrt())


@given(st.integers(2, 20), st.integers(1, 12), st.integers(1, 12), st.integers(0, 9999))
def test_cka_is_that_of_the_kernels(samples, first, second, seed):
    random = torch.Generator().manual_seed(seed)
    x, y = (
        torch.randn(samples, width, generator=random, dtype=torch.float64) + 3
        for width in (first, second)
    )
    assert linear_cka(x, y) == pytest.approx(by_the_formula(x, y), abs=1e-9)
    assert linear_cka(x, y) == pytest.approx(linear_cka(y, x), abs=1e-9)


def test_cka_is_one_for_rotated_and_scaled_features_and_zero_for_constant_ones():
    x = torch.randn(50, 8)
    projected = 7 * OrthogonalProjection(8, 16)(x).detach() + 2
    assert linear_cka(x, projected) == pytest.approx(1, abs=1e-6)
    assert linear_cka(x, torch.ones(50, 3)) == 0
    with pytest.raises(ValueError, match="same two or more"):
        linear_cka(x, x[:9])


def test_a_span_holds_the_variance_along_its_directions():
    scales = torch.tensor([4.0, 3.0, 2.0, 1.0])
    features = torch.linalg.qr(torch.randn(64, 4) - 0)[0] * 8
    features = (features - features.mean(0)) @ torch.linalg.qr(torch.randn(4, 4))[0]
    _, _, directions = torch.linalg.svd(features, full_matrices=False)
    exact = torch.linalg.qr(features)[0] * scales @ directions
    found = span_of(exact, directions[:2].T)
    shares = torch.linalg.svdvals(exact - exact.mean(0)).double().square()
    assert torch.allclose(found.of_teacher, shares / shares.sum(), atol=1e-6)
    inside = ((exact - exact.mean(0)) @ directions[:2].T).square().sum()
    assert float(found.of_span.sum()) == pytest.approx(float(inside / shares.sum()), abs=1e-5)
    assert found.width == 2


def test_the_whole_space_holds_all_and_a_rank_is_counted():
    features = torch.randn(40, 6)
    assert float(span_of(features, torch.eye(6)).of_span.sum()) == pytest.approx(1)
    twice = torch.randn(6, 1).expand(-1, 3)
    assert span_of(features, twice).width == 1
    with pytest.raises(ValueError, match="6 features"):
        span_of(features, torch.eye(5))
