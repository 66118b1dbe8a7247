"""How like two networks' features are, and which part of one's space a projection spans."""

from typing import NamedTuple

import torch
from torch import Tensor


def linear_cka(first: Tensor, second: Tensor) -> float:
    """Return linear centred kernel alignment: 1 for equal features, up to rotation and scale.

    ``|X'Y|^2 / (|X'X| |Y'Y|)`` in Frobenius norms, of features X (N, A) and Y (N, B) centred over
    the same N samples. Of few samples, N below some times A or B, it is large for unlike features
    as well.

    Returns:
        From 0 to 1; 0 where features of a side are all alike.

    Raises:
        ValueError: for other shapes, fewer than 2 samples, or features that are not finite.

    Source: Kornblith, Norouzi, Lee and Hinton, "Similarity of Neural Network Representations
    Revisited", ICML 2019, section 3.
    """
    if first.ndim != 2 or second.ndim != 2 or len(first) != len(second) or len(first) < 2:
        raise ValueError(
            "Both features must be (N, D) of the same two or more samples, found "
            f"{tuple(first.shape)} and {tuple(second.shape)}."
        )
    x, y = (_centred(part) for part in (first, second))
    scale = _inner(x, x).sqrt() * _inner(y, y).sqrt()
    return float((_inner(x, y) / scale).clamp(0, 1)) if scale > 0 else 0.0


def _centred(features: Tensor) -> Tensor:
    """In float64 on the CPU, which every device's features can be moved to."""
    if not features.isfinite().all():
        wrong = int((~features.isfinite()).any(1).sum())
        raise ValueError(f"Features must be finite, found {wrong} rows that are not.")
    exact = features.detach().cpu().double()
    centred = exact - exact.mean(0)
    # Rounding leaves a little of what is all alike.
    return centred if centred.norm() > 1e-12 * exact.norm() else torch.zeros_like(centred)


def _inner(x: Tensor, y: Tensor) -> Tensor:
    """``|X'Y|^2`` by the smaller matrices of the two that give it."""
    if len(x) <= min(x.shape[1], y.shape[1]):
        return ((x @ x.T) * (y @ y.T)).sum()
    return (x.T @ y).square().sum()


@torch.no_grad()
def explained_share(predicted: Tensor, target: Tensor) -> Tensor:
    """Return the share of a target's variance that a prediction explains, a scalar up to 1.

    The coefficient of determination ``1 - |predicted - target|^2 / (N V)`` over all of (N, D), with
    V the sum of the D features' unbiased variances over the N rows. What says no more than the
    mean of all targets does, those of other batches too, has 0 in the mean, and what says less
    has below 0; where targets were normalised by the same batch, whose mean is known, it is 1 / N.
    0 too where all targets are alike. Nothing is read from a device.
    """
    target, rows = target.float(), len(target)
    total = (target - target.mean(0)).square().sum() * (rows / max(rows - 1, 1))
    share = 1 - (predicted.float() - target).square().sum() / total
    # Rounding leaves a little of what is all alike.
    return torch.where(total > 1e-10 * target.square().sum(), share, 0.0)


class Span(NamedTuple):
    """What of a teacher's variance lies in the span of a projection.

    Attributes:
        of_teacher: shares of the variance along the teacher's principal directions (K,), falling.
        of_span: of each share, what lies in the span (K,).
        width: directions of the span.
    """

    of_teacher: Tensor
    of_span: Tensor
    width: int


def span_of(features: Tensor, projection: Tensor) -> Span:
    """Return what of the variance of teacher features (N, T) lies in a projection's (T, S) span.

    Raises:
        ValueError: where the two have different widths T.
    """
    if features.shape[1] != projection.shape[0]:
        raise ValueError(
            f"A projection to {features.shape[1]} features has as many rows, found "
            f"{projection.shape[0]}."
        )
    _, values, directions = torch.linalg.svd(_centred(features), full_matrices=False)
    shares = values.square() / values.square().sum().clamp(min=torch.finfo(values.dtype).tiny)
    basis, spread, _ = torch.linalg.svd(projection.detach().cpu().double(), full_matrices=False)
    basis = basis[:, spread > 1e-6 * spread[0]]
    held = (directions @ basis).square().sum(1)
    return Span(shares, shares * held, basis.shape[1])
