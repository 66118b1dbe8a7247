"""Normalisations against PyTorch's layers, NumPy's covariance and scikit-learn."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler

from vkd import layer_norm, standardize, whiten
from vkd.normalization import identity, inverse_square_root, whitening_of


def draw(samples: int, dim: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(dim, dim, generator=generator)
    return torch.randn(samples, dim, generator=generator) @ mixing * 3 + 5


def covariance(features: torch.Tensor) -> np.ndarray:
    return np.cov(features.double().numpy(), rowvar=False)


def test_layer_norm_equals_torchs_layer():
    features = draw(6, 12)
    expected = torch.nn.LayerNorm(12, elementwise_affine=False)(features)
    torch.testing.assert_close(layer_norm(features), expected)


@settings(max_examples=25, deadline=None)
@given(st.integers(3, 40), st.integers(1, 20), st.integers(0, 1000))
def test_standardize_equals_scikit_learn(samples, dim, seed):
    features = draw(samples, dim, seed)
    expected = StandardScaler().fit_transform(features.double().numpy())
    found = standardize(features, eps=0, unbiased=False).double().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-3)
    scale = np.sqrt((samples - 1) / samples)
    unbiased = standardize(features, eps=0).double().numpy()
    np.testing.assert_allclose(unbiased, expected * scale, atol=1e-3)


def test_standardize_turns_constant_features_into_zeros_with_finite_gradients():
    features = draw(8, 4)
    features[:, 2] = 7.0
    features.requires_grad_()
    standardized = standardize(features)
    standardized.square().sum().backward()
    assert standardized[:, 2].abs().max() == 0
    assert features.grad.isfinite().all()


def test_standardize_gradient_equals_finite_differences():
    features = draw(5, 3).double().requires_grad_()
    assert torch.autograd.gradcheck(standardize, (features,))


@pytest.mark.parametrize("method", ["zca", "pca", "cholesky"])
def test_whiten_gives_identity_covariance(method):
    whitened = whiten(draw(4000, 8), eps=1e-8, method=method)
    np.testing.assert_allclose(covariance(whitened), np.eye(8), atol=2e-3)
    assert whitened.mean(0).abs().max() < 1e-3


def test_zca_is_the_inverse_square_root_of_the_covariance():
    features = draw(200, 6)
    values, vectors = np.linalg.eigh(covariance(features))
    centred = (features - features.mean(0)).double().numpy()
    ridge = 1e-5 * values.mean()
    expected = centred @ (vectors / np.sqrt(values + ridge)) @ vectors.T
    np.testing.assert_allclose(whiten(features).double().numpy(), expected, atol=1e-2)


@pytest.mark.parametrize("method", ["zca", "pca", "cholesky"])
def test_whiten_is_finite_for_few_samples_and_constant_input(method):
    few = whiten(draw(6, 50), method=method)
    assert few.isfinite().all()
    assert whiten(torch.ones(6, 5), method=method).abs().max() == 0


def test_whiten_with_fewer_samples_than_features_whitens_their_span():
    whitened = whiten(draw(6, 50), eps=1e-9).double()
    gram = (whitened @ whitened.T).numpy()
    # N - 1 directions of unit variance; samples are then a regular simplex.
    np.testing.assert_allclose(gram, 5 * (np.eye(6) - 1 / 6), atol=1e-2)


def test_whiten_survives_a_repeated_feature():
    features = draw(100, 5)
    features[:, 4] = features[:, 3]
    whitened = whiten(features)
    assert whitened.isfinite().all()
    assert np.linalg.matrix_rank(covariance(whitened), tol=1e-2) == 4


def test_half_precision_computes_in_float32():
    for normalize in (layer_norm, standardize, whiten, identity):
        assert normalize(draw(8, 4).half()).dtype == torch.float32


def test_errors_say_what_was_found():
    with pytest.raises(ValueError, match=r"\(N, D\), found \(2, 3, 4\)"):
        layer_norm(torch.zeros(2, 3, 4))
    for normalize in (standardize, whiten):
        with pytest.raises(ValueError, match="at least 2 samples, found 1"):
            normalize(torch.zeros(1, 3))
    with pytest.raises(ValueError, match="zca, pca or cholesky, found 'ica'"):
        whiten(draw(4, 3), method="ica")


@pytest.mark.parametrize("method", ["zca", "pca", "cholesky"])
def test_a_whitening_map_of_many_samples_applies_to_few(method):
    torch.manual_seed(0)
    many = torch.randn(500, 12) @ torch.randn(12, 12) + 3
    apply = whitening_of(many, method=method)
    torch.testing.assert_close(apply(many), whiten(many, method=method))
    few = many[:5]
    torch.testing.assert_close(apply(few), apply(many)[:5])
    # By themselves, five samples of twelve features end at equal distances; by the map they do not.
    alone = torch.pdist(whiten(few, method="zca"))
    torch.testing.assert_close(alone, alone.mean().expand_as(alone), atol=1e-2, rtol=1e-2)
    distances = torch.pdist(apply(few))
    assert distances.max() > 1.2 * distances.min()


@pytest.mark.parametrize(("samples", "dim"), [(16, 50), (50, 16), (2, 9), (64, 64), (300, 40)])
@pytest.mark.parametrize("smallest", [0, -3])
def test_whitening_by_products_equals_the_inverse_root_of_the_covariance(samples, dim, smallest):
    torch.manual_seed(0)
    features = torch.randn(samples, dim) * torch.logspace(0, smallest, dim) + 3
    centred = (features - features.mean(0)).double()
    values, vectors = torch.linalg.eigh(centred.T @ centred / (samples - 1))
    scales = (values.clamp(min=0) + 1e-5 * values.sum() / dim).rsqrt()
    expected = centred @ (vectors * scales @ vectors.T)
    torch.testing.assert_close(whiten(features).double(), expected, atol=1e-3, rtol=0)
    if smallest == 0 and samples != dim:
        # With gradients eigenvectors are taken, in float32.
        again = whiten(features.requires_grad_()).detach()
        torch.testing.assert_close(again.double(), expected, atol=5e-3, rtol=0)


@pytest.mark.parametrize("least", [1e-1, 1e-4, 1e-8])
def test_the_inverse_square_root_of_a_matrix_undoes_it(least):
    torch.manual_seed(0)
    basis = torch.linalg.qr(torch.randn(40, 40, dtype=torch.float64))[0]
    matrix = basis * torch.logspace(0, math.log10(least), 40, dtype=torch.float64) @ basis.T
    root = inverse_square_root(matrix, least / 40)
    unit = torch.eye(40, dtype=torch.float64)
    torch.testing.assert_close(root @ matrix @ root, unit, atol=1e-6, rtol=0)
