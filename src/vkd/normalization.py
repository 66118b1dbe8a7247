"""Normalisations of teacher features (N samples, D features); they are easily mistaken for another.

====================  ================================================  =========================
name                  statistics are taken                              used by the paper for
====================  ================================================  =========================
``layer_norm``        over the features of one sample                   recognition
``standardize``       over the batch, for each feature alone            detection tokens
``whiten``            over the batch, for all features jointly          generation
``identity``          nowhere                                           the ablation's control
====================  ================================================  =========================

All compute in float32 at least. Source: paper, section 3.2, and its release.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed import nn as dist_nn

Normalization = Callable[[Tensor], Tensor]


def identity(features: Tensor) -> Tensor:
    """Return the (N, D) features unchanged, in float32 at least."""
    return _checked(features)


def layer_norm(features: Tensor, eps: float = 1e-5) -> Tensor:
    """Give each sample of (N, D) mean 0 and biased variance 1 over its D features.

    ``eps`` is added to the variance. There is no learned scale or shift.
    """
    features = _checked(features)
    return torch.nn.functional.layer_norm(features, features.shape[1:], eps=eps)


def standardize(
    features: Tensor,
    eps: float = 1e-6,
    unbiased: bool = True,
    across_processes: bool = False,
) -> Tensor:
    """Give each of the D features mean 0 and variance 1 over the N samples of the batch.

    The deviation is unbiased (divided by N - 1) unless ``unbiased`` is False; ``eps`` is added to
    the deviation, so that a constant feature becomes 0. With ``across_processes`` the statistics
    are those of the batches of all processes together, gradients included.

    Raises:
        ValueError: if the (global) batch has fewer than 2 samples.
    """
    features = _checked(features)
    everyone = _gather(features) if across_processes else features
    _require_two(everyone, "standardize")
    mean = everyone.mean(0)
    deviation = (everyone - mean).square().sum(0) / (len(everyone) - int(unbiased))
    # The square root has no finite derivative at 0, where a constant feature would put it.
    deviation = deviation.clamp(min=torch.finfo(features.dtype).tiny).sqrt()
    return (features - mean) / (deviation + eps)


def whiten(
    features: Tensor,
    eps: float = 1e-5,
    method: Literal["zca", "pca", "cholesky"] = "zca",
    across_processes: bool = False,
) -> Tensor:
    """Give the (N, D) features mean 0 and identity covariance (divided by N - 1) over the batch.

    ``zca`` stays closest to the input, ``pca`` returns principal components in falling order,
    ``cholesky`` uses the inverse Cholesky factor. ``eps``, relative to the mean eigenvalue, is
    added to every eigenvalue: directions without variance (all but N - 1 of them when N <= D)
    become 0 instead of amplified rounding. The statistics are constants to autograd, since
    teachers need no gradient; the map applied to ``features`` is differentiable.

    ``zca`` of features without gradients, and ``cholesky``, never make the host of a GPU wait; the
    others, and ``across_processes``, do.

    Raises:
        ValueError: for an unknown method, or if the (global) batch has fewer than 2 samples.
    """
    features = _checked(features)
    if method == "zca" and not (features.requires_grad or across_processes):
        return _zca(features, eps)
    everyone = _gather(features.detach()) if across_processes else features.detach()
    return whitening_of(everyone, eps, method)(features)


def _zca(features: Tensor, eps: float) -> Tensor:
    """Features (N, D) whitened by themselves, by the root of the smaller of two Gram matrices."""
    _require_two(features, "whiten")
    centred = features - features.mean(0)
    samples, dim = centred.shape
    exact = centred.to(torch.float32 if features.device.type == "mps" else torch.float64)
    # By (X'X + r)^-1/2 = X' (XX' + r)^-1/2 on the rows of X.
    gram = (exact @ exact.T if samples <= dim else exact.T @ exact) / (samples - 1)
    ridge = (eps * gram.diagonal().sum() / dim).clamp(min=torch.finfo(torch.float32).tiny)
    gram.diagonal().add_(ridge)
    root = inverse_square_root(gram, eps / (2 * dim)).to(centred)
    return root @ centred if samples <= dim else centred @ root


def inverse_square_root(matrix: Tensor, least: float) -> Tensor:
    """Return the inverse square root of a positive definite matrix (K, K), by products alone.

    Eigenvalues would make the host of a GPU wait.

    Args:
        matrix: symmetric, of a type that holds its condition.
        least: of its Frobenius norm, what every eigenvalue is above.

    Source: coupled Newton-Schulz iteration (Higham 2008, section 6.3), scaled by the bound on the
    eigenvalues as in Chen and Chow 2014.
    """
    norm = torch.linalg.matrix_norm(matrix)
    unit = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    forward, inverse = matrix / norm, unit
    low = max(least, 1e-14) ** 0.5
    while 1 - low > 1e-14:
        scale = (3 / (1 + low + low**2)) ** 0.5
        step = 0.5 * scale * (3 * unit - scale**2 * inverse @ forward)
        forward, inverse = forward @ step, step @ inverse
        low = 0.5 * scale * low * (3 - (scale * low) ** 2)
    return inverse / norm.sqrt()


def whitening_of(
    features: Tensor,
    eps: float = 1e-5,
    method: Literal["zca", "pca", "cholesky"] = "zca",
    shrinkage: float = 0.0,
) -> Normalization:
    """Return the map that whitens (N, D) ``features``, to be applied to any others.

    A batch of N <= D samples that is whitened by itself keeps nothing of how like its samples are:
    they end at equal distances. The map of many samples has no such limit.

    Args:
        features, eps, method: as in ``whiten``, with its errors.
        shrinkage: share s from 0 to 1 by which the eigenvalues of the covariance are moved to their
            mean, so that directions almost without variance are not blown up; see ``ledoit_wolf``.

    Raises:
        ValueError: as ``whiten``, and for a shrinkage out of range.
    """
    if not 0 <= shrinkage <= 1:
        raise ValueError(f"shrinkage must be from 0 to 1, found {shrinkage}.")
    if method not in ("zca", "pca", "cholesky"):
        raise ValueError(f"whiten's method must be zca, pca or cholesky, found {method!r}.")
    features = _checked(features.detach())
    _require_two(features, "whiten")
    mean = features.mean(0)
    centred = features - mean
    level = centred.square().sum() / (len(centred) - 1) / features.shape[1]
    ridge = ((eps + shrinkage) * level).clamp(min=torch.finfo(features.dtype).tiny)
    if method == "cholesky":
        covariance = (1 - shrinkage) * (centred.T @ centred) / (len(centred) - 1)
        covariance.diagonal().add_(ridge)
        lower, failed = torch.linalg.cholesky_ex(covariance)
        lower = torch.where(failed == 0, lower, torch.nan)
        return lambda others: _centred_solve(lower, _checked(others) - mean.to(others.device))
    values, vectors = _principal_components(centred)
    scales = ((1 - shrinkage) * values + ridge).rsqrt()

    def apply(others: Tensor) -> Tensor:
        others = _checked(others)
        basis = vectors.to(others)
        whitened = (others - mean.to(others)) @ basis * scales.to(others)
        return whitened @ basis.T if method == "zca" else whitened

    return apply


def ledoit_wolf(features: Tensor) -> float:
    """Return by how much to shrink the covariance of (N, D) features, from 0 to 1.

    The estimator ``(1 - s) C + s mean(eigenvalues of C) I`` of a covariance has the least expected
    distance to that which the features are drawn from; see ``whitening_of``.

    Raises:
        ValueError: for fewer than 2 samples.

    Source: Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance
    matrices", Journal of Multivariate Analysis 2004, by scikit-learn.
    """
    from sklearn.covariance import ledoit_wolf_shrinkage

    features = _checked(features.detach())
    _require_two(features, "whiten")
    return float(ledoit_wolf_shrinkage(features.cpu().double().numpy()))


def _centred_solve(lower: Tensor, centred: Tensor) -> Tensor:
    return torch.linalg.solve_triangular(lower.to(centred), centred.T, upper=False).T


def _principal_components(centred: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (K,), falling, and eigenvectors (D, K) of the covariance, K = min(N, D).

    Taken from the smaller of the two Gram matrices: D may be thousands where N is hundreds.
    """
    samples, dim = centred.shape
    if samples > dim:
        values, vectors = _eigh(centred.T @ centred / (samples - 1))
        return values.flip(0).clamp(min=0), vectors.flip(1)
    values, left = _eigh(centred @ centred.T / (samples - 1))
    values, left = values.flip(0).clamp(min=0), left.flip(1)
    vectors = centred.T @ left
    norms = vectors.norm(dim=0)
    # Eigenvectors of (numerically) zero eigenvalues are rounding noise, not directions.
    alive = values > 1e-6 * values[0]
    return values, torch.where(alive, vectors / norms.clamp(min=1e-30), 0.0)


def _eigh(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues and vectors; values that are not finite where the matrix is not.

    torch raises there, which would stop one of several processes alone.
    """
    is_finite = gram.isfinite().all()
    values, vectors = torch.linalg.eigh(torch.where(is_finite, gram, 0.0))
    return torch.where(is_finite, values, torch.nan), vectors


def _gather(features: Tensor) -> Tensor:
    """Rows of all processes, (sum of N, D), with gradients; processes may hold different N."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return features
    size = torch.tensor([len(features)], device=features.device)
    sizes = [torch.zeros_like(size) for _ in range(dist.get_world_size())]
    dist.all_gather(sizes, size)
    longest = int(max(sizes))
    padded = torch.nn.functional.pad(features, (0, 0, 0, longest - len(features)))
    gathered = dist_nn.all_gather(padded) if features.requires_grad else _all_gather(padded)
    return torch.cat([rows[: int(count)] for rows, count in zip(gathered, sizes, strict=True)])


def _all_gather(features: Tensor) -> list[Tensor]:
    gathered = [torch.empty_like(features) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, features.contiguous())
    return gathered


def _checked(features: Tensor) -> Tensor:
    if features.ndim != 2:
        raise ValueError(
            f"Normalisations take features of shape (N, D), found {tuple(features.shape)}; "
            "pool or flatten them first."
        )
    return features.to(torch.promote_types(features.dtype, torch.float32))


def _require_two(features: Tensor, name: str) -> None:
    if len(features) < 2:
        raise ValueError(f"{name} needs a batch of at least 2 samples, found {len(features)}.")


NORMALIZATIONS: dict[str, Normalization] = {
    "layer_norm": layer_norm,
    "standardize": standardize,
    "whiten": whiten,
    "identity": identity,
}
