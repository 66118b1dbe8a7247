"""How good embeddings are: neighbours, a linear probe, retrieval, similarity to a teacher's.

Features are (N, D) and labels (N,). Large sets are compared in blocks of rows, so that 100,000 rows
take no more memory than a block beside them.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vkd.similarity import linear_cka as linear_cka

_BLOCK = 512  # rows that are compared with all others at once
# Inverse strengths of the probe's penalty, of which the training rows choose one.
_STRENGTHS = (0.01, 0.1, 1.0, 10.0)
_FOLDS = 3


def knn_accuracy(
    train_features: Tensor,
    train_labels: Tensor,
    features: Tensor,
    labels: Tensor,
    k: int = 20,
    temperature: float = 0.07,
) -> float:
    """Return the accuracy in % of a vote among the nearest training rows.

    Each of the ``k`` neighbours of the largest cosine votes for its label with the weight
    ``exp(cosine / temperature)``, as in DINO (Caron et al., ICCV 2021). A larger ``k`` than there
    are rows takes them all. Of equal sums of votes the smaller label wins.

    Args:
        train_features: the rows that vote.
        train_labels: of these.
        features: the rows to classify.
        labels: of these.
        k: neighbours, at least 1.
        temperature: of the votes, above 0.

    Raises:
        ValueError: for features or labels that do not fit, or are not finite.
    """
    if k < 1 or temperature <= 0:
        raise ValueError(
            f"k must be at least 1 and temperature above 0, found {k} and {temperature}."
        )
    index, queries = _directions(train_features, train_labels), _directions(features, labels)
    _require_equal_width(index, queries)
    classes = int(max(train_labels.max(), labels.max())) + 1
    right = 0
    for part, known in _blocks(queries, labels):
        cosines, places = (part @ index.T).topk(min(k, len(index)), dim=1)
        # Less the largest, which changes no winner and overflows nothing.
        votes = ((cosines - cosines[:, :1]) / temperature).exp()
        sums = torch.zeros(len(part), classes, dtype=votes.dtype)
        sums.scatter_add_(1, train_labels[places], votes)
        right += int((sums.argmax(1) == known).sum())
    return 100 * right / len(labels)


def linear_probe_accuracy(
    train_features: Tensor,
    train_labels: Tensor,
    features: Tensor,
    labels: Tensor,
    seed: int = 0,
) -> float:
    """Return the accuracy in % of a logistic regression on the features.

    Features are standardised by the training rows. The strength of the L2 penalty is chosen among
    four by cross-validation on the training rows, as far as each class has enough of them; the
    rows to classify have no part in it.

    Args:
        train_features: the rows to fit.
        train_labels: of these.
        features: the rows to classify.
        labels: of these.
        seed: of the folds.

    Raises:
        ValueError: for features or labels that do not fit, or are not finite.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    _require(train_features, train_labels)
    _require(features, labels)
    _require_equal_width(train_features, features)
    known = train_labels.numpy()
    rows, asked = train_features.float().numpy(), features.float().numpy()
    if len(np.unique(known)) == 1:
        return 100 * float((labels.numpy() == known[0]).mean())
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    folds = min(_FOLDS, int(np.bincount(known)[np.unique(known)].min()))
    if folds > 1:
        strengths = {"logisticregression__C": list(_STRENGTHS)}
        parts = StratifiedKFold(folds, shuffle=True, random_state=seed)
        probe = GridSearchCV(probe, strengths, cv=parts)
    return 100 * float(probe.fit(rows, known).score(asked, labels.numpy()))


def retrieval_recall(
    index_features: Tensor,
    index_labels: Tensor,
    queries: Tensor,
    query_labels: Tensor,
    ks: Sequence[int] = (1, 5, 10),
    same: bool = False,
) -> dict[int, float]:
    """Return for each k the share in % of queries with one of their label among the k nearest.

    Nearness is the cosine. Queries whose label is nowhere in the index count as missed.

    Args:
        index_features: the rows that are searched.
        index_labels: of these.
        queries: the rows that are searched with.
        query_labels: of these.
        ks: numbers of neighbours, each at least 1.
        same: whether the queries are the index's rows, each of which is not its own neighbour.

    Raises:
        ValueError: for features or labels that do not fit, or are not finite.
    """
    if not ks or min(ks) < 1:
        raise ValueError(f"ks must be at least 1, found {tuple(ks)}.")
    index = _directions(index_features, index_labels)
    asked = _directions(queries, query_labels)
    _require_equal_width(index, asked)
    if same and len(asked) != len(index):
        raise ValueError(
            f"queries must be the index's {len(index)} rows with same=True, found {len(asked)}."
        )
    most = min(max(ks), len(index) - int(same))
    found = dict.fromkeys(ks, 0)
    if most < 1:
        return dict.fromkeys(ks, 0.0)
    for number, (part, known) in enumerate(_blocks(asked, query_labels)):
        cosines = part @ index.T
        if same:
            rows = torch.arange(len(part))
            cosines[rows, rows + number * _BLOCK] = -torch.inf
        hits = index_labels[cosines.topk(most, dim=1).indices] == known[:, None]
        for k in ks:
            found[k] += int(hits[:, :k].any(1).sum())
    return {k: 100 * count / len(asked) for k, count in found.items()}


def cosine_correlation(a: Tensor, b: Tensor) -> float:
    """Return how the cosines between samples agree in two sets of features.

    Pearson's correlation of the cosines of all pairs of different samples, from -1 to 1; 0 where
    one side has the same cosine everywhere.

    Args:
        a: (N, D).
        b: (N, E).

    Raises:
        ValueError: for other numbers of rows, fewer than two, or features that are not finite.
    """
    _require_pair(a, b)
    left, right = F.normalize(a.double(), dim=1), F.normalize(b.double(), dim=1)
    count, pairs = len(a), len(a) * (len(a) - 1)
    # Means first, so that the sums of squares lose no digits.
    means = [(float(side.sum(0).square().sum()) - _own(side)) / pairs for side in (left, right)]
    sums = torch.zeros(3, dtype=torch.float64)
    for start in range(0, count, _BLOCK):
        rows = torch.arange(start, min(start + _BLOCK, count))
        parts = [
            side[rows] @ side.T - mean for side, mean in zip((left, right), means, strict=True)
        ]
        for part in parts:
            part[rows - start, rows] = 0  # a sample beside itself
        x, y = parts
        sums += torch.stack([(x * y).sum(), x.square().sum(), y.square().sum()])
    product, first, second = sums.tolist()
    # What rounding alone leaves of cosines that are all alike.
    least = pairs * 1e-24
    return product / (first * second) ** 0.5 if min(first, second) > least else 0.0


def _own(side: Tensor) -> float:
    """The sum of the cosines of samples beside themselves: 1 each, 0 for a vector of zeros."""
    return float(side.square().sum())


def _blocks(features: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    yield from zip(features.split(_BLOCK), labels.split(_BLOCK), strict=True)


def _directions(features: Tensor, labels: Tensor) -> Tensor:
    """Rows of length 1; of zeros where they are zeros, which are alike to nothing."""
    _require(features, labels)
    return F.normalize(features.float(), dim=1)


def _require(features: Tensor, labels: Tensor) -> None:
    if features.ndim != 2 or labels.shape != features.shape[:1] or not len(features):
        raise ValueError(
            "Features must be (N, D) and labels (N,) with at least one row, found "
            f"{tuple(features.shape)} and {tuple(labels.shape)}."
        )
    if labels.is_floating_point() or int(labels.min()) < 0:
        raise ValueError("Labels must be whole numbers from 0 on.")
    _require_finite(features)


def _require_pair(a: Tensor, b: Tensor) -> None:
    if a.ndim != 2 or b.ndim != 2 or len(a) != len(b) or len(a) < 2:
        raise ValueError(
            "Both features must be (N, D) of the same two or more samples, found "
            f"{tuple(a.shape)} and {tuple(b.shape)}."
        )
    _require_finite(a)
    _require_finite(b)


def _require_equal_width(index: Tensor, queries: Tensor) -> None:
    if index.shape[1] != queries.shape[1]:
        raise ValueError(
            f"Both sides must have as many features, found {index.shape[1]} and {queries.shape[1]}."
        )


def _require_finite(features: Tensor) -> None:
    if not features.isfinite().all():
        wrong = int((~features.isfinite()).any(1).sum())
        raise ValueError(f"Features must be finite, found {wrong} rows that are not.")
