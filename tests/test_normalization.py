"""Normalisations against PyTorch's layers, NumPy's covariance and scikit-learn."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import LedoitWolf
from sklearn.preprocessing import StandardScaler

from support.forked import in_two_processes
from vkd import layer_norm, standardize, whiten
from vkd.normalization import (
    NORMALIZATIONS,
    _principal_components,
    identity,
    inverse_square_root,
    ledoit_wolf,
    whitening_of,
)


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


@pytest.mark.parametrize(("first", "dim"), [(3, 5), (7, 3)])
def test_two_processes_normalise_as_one_does_the_whole_batch(tmp_path, first, dim):
    whole = draw(10, dim)
    weights = torch.randn(10, dim)
    parts = [slice(0, first), slice(first, 10)]
    whitenings = ("zca", "pca", "cholesky")

    def normalised(features, mine, **across):
        features = features.clone().requires_grad_()
        found = standardize(features, **across)
        (found * weights[mine]).sum().backward()
        whitened = [whiten(features.detach(), method=name, **across) for name in whitenings]
        return [found.detach(), features.grad, *whitened]

    def work(rank):
        return normalised(whole[parts[rank]], parts[rank], across_processes=True)

    expected = normalised(whole, slice(None))
    found = in_two_processes(tmp_path, work)
    for known, *shares in zip(expected, *found, strict=True):
        torch.testing.assert_close(torch.cat(shares), known, atol=2e-3, rtol=1e-3)


def test_alone_is_across_all_processes_where_there_is_one():
    features = draw(6, 4)
    for normalize in (standardize, whiten):
        torch.testing.assert_close(normalize(features, across_processes=True), normalize(features))
    # Where statistics are shared, those of a batch of one are defined by the other processes.
    with pytest.raises(
        ValueError, match="standardize needs a batch of at least 2 samples, found 1"
    ):
        standardize(features[:1], across_processes=True)


def test_normalizations_have_their_names():
    expected = {"layer_norm": layer_norm, "standardize": standardize, "whiten": whiten}
    assert expected | {"identity": identity} == NORMALIZATIONS
    features = draw(4, 3)
    assert identity(features) is features


def test_eps_is_added_to_the_variance_of_a_sample_and_to_the_deviation_of_a_feature():
    features = draw(6, 4)
    mean, variance = features.mean(1, keepdim=True), features.var(1, keepdim=True, correction=0)
    expected = (features - mean) / (variance + 0.5).sqrt()
    torch.testing.assert_close(layer_norm(features, eps=0.5), expected)
    expected = (features - features.mean(0)) / (features.std(0) + 0.5)
    torch.testing.assert_close(standardize(features, eps=0.5), expected)
    for normalize, eps in ((layer_norm, 1e-5), (standardize, 1e-6)):
        torch.testing.assert_close(
            normalize(features), normalize(features, eps=eps), rtol=0, atol=0
        )


@pytest.mark.parametrize("eps", [1e-5, 0.5])
@pytest.mark.parametrize(("samples", "dim"), [(8, 3), (4, 7), (5, 5)])
def test_each_whitening_equals_its_definition(samples, dim, eps):
    features = draw(samples, dim)
    exact = features.double().numpy()
    centred = exact - exact.mean(0)
    ridged = centred.T @ centred / (samples - 1)
    ridged += eps * np.trace(ridged) / dim * np.eye(dim)
    values, vectors = np.linalg.eigh(ridged)
    principal = (centred @ vectors / np.sqrt(values))[:, ::-1]
    expected = {
        "zca": principal[:, ::-1] @ vectors.T,
        "pca": np.abs(principal),
        "cholesky": np.linalg.solve(np.linalg.cholesky(ridged), centred.T).T,
    }
    for method, known in expected.items():
        wants_gradients = features.clone().requires_grad_()
        maps = (
            whiten(features, eps, method),
            whiten(wants_gradients, eps, method).detach(),
            whitening_of(features, eps, method)(features),
        )
        for found in maps:
            found = found.abs() if method == "pca" else found
            width = min(samples - 1, dim) if method == "pca" else dim
            wide = np.zeros((samples, found.shape[1])) if method == "pca" else known
            wide[:, : known.shape[1]] = known[:, : found.shape[1]]
            np.testing.assert_allclose(found[:, :width], wide[:, :width], atol=2e-2)
    assert torch.equal(
        whitening_of(features)(features), whitening_of(features, 1e-5, "zca")(features)
    )


def test_whitening_names_itself_where_the_batch_is_too_small():
    for features in (draw(1, 3), draw(1, 3).requires_grad_()):
        with pytest.raises(
            ValueError, match=r"^whiten needs a batch of at least 2 samples, found 1"
        ):
            whiten(features)
    assert whiten(draw(2, 3)).isfinite().all()
    assert whitening_of(draw(2, 3))(draw(1, 3)).shape == (1, 3)


@pytest.mark.parametrize("method", ["zca", "pca", "cholesky"])
def test_a_whitening_map_computes_in_the_type_of_what_it_is_given(method):
    apply = whitening_of(draw(50, 4), method=method)
    exact = apply(draw(5, 4).double())
    assert exact.dtype == torch.float64
    assert apply(draw(5, 4).half()).dtype == torch.float32
    torch.testing.assert_close(exact.float(), apply(draw(5, 4)), atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="shape"):
        apply(torch.zeros(4))


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_directions_of_few_rows_are_unit_vectors_and_those_of_noise_are_none(scale):
    """Of the eigenvalues 1, 1e-3 and 1e-8 of four rows, the last is noise beside the first."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(4, 3, dtype=torch.float64, generator=generator)
    # Columns that are orthonormal and centred.
    left = torch.linalg.qr(torch.cat([torch.ones(4, 1).double(), drawn], 1))[0][:, 1:]
    eigenvalues = torch.tensor([1.0, 1e-3, 1e-8], dtype=torch.float64) * scale**2
    basis = torch.linalg.qr(torch.randn(6, 3, dtype=torch.float64, generator=generator))[0]
    values, vectors = _principal_components(left * (3 * eigenvalues).sqrt() @ basis.T)
    torch.testing.assert_close(values[:2], eigenvalues[:2])
    torch.testing.assert_close((vectors[:, :2].T @ basis[:, :2]).abs(), torch.eye(2).double())
    assert not vectors[:, 2:].any()


def test_rows_that_are_all_alike_have_no_directions():
    values, vectors = _principal_components(torch.zeros(3, 5))
    assert not values.any()
    assert not vectors.any()


@pytest.mark.parametrize(("samples", "dim"), [(400, 12), (60, 30)])
@pytest.mark.parametrize("method", ["zca", "cholesky"])
def test_a_shrunk_whitening_is_that_of_the_shrunk_covariance(samples, dim, method):
    features = draw(samples, dim) * torch.logspace(0, -2, dim)
    share = ledoit_wolf(features)
    assert share == pytest.approx(LedoitWolf().fit(features.numpy()).shrinkage_, rel=1e-3)
    own = np.cov(features.double().numpy().T)
    shrunk = (1 - share) * own + share * np.trace(own) / dim * np.eye(dim)
    whitened = whitening_of(features, eps=0, method=method, shrinkage=share)(features)
    centred = (features - features.mean(0)).double().numpy()
    # Mahalanobis distances do not depend on which root of the covariance is taken.
    expected = centred @ np.linalg.inv(shrunk) @ centred.T
    np.testing.assert_allclose((whitened @ whitened.T).numpy(), expected, rtol=1e-2, atol=1e-2)


def test_noise_keeps_unit_variance_however_much_its_covariance_is_shrunk():
    noise = torch.randn(200, 50, generator=torch.Generator().manual_seed(0))
    share = ledoit_wolf(noise)
    assert share > 0.9
    assert whitening_of(noise, shrinkage=share)(noise).std() == pytest.approx(1, abs=0.1)
    with pytest.raises(ValueError, match="shrinkage must be from 0 to 1, found"):
        whitening_of(noise, shrinkage=1.5)
