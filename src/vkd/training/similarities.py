"""How like the student's features are to the teacher's, before and after training."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from vkd.files import read_json, write_whole
from vkd.json_values import as_damaged, entries, finite, whole
from vkd.similarity import linear_cka, span_of

BEFORE, AFTER = "before", "after"
_MOST_DIRECTIONS = 64
# Samples of which one is compared, each time; of those that are trained on, over all epochs.
_SHARE = 100


@dataclass(frozen=True, kw_only=True)
class Similarity:
    """How like a student's features are to the teacher's.

    Attributes:
        features: which are compared.
        samples: on which samples, with their number.
        cka: linear CKA, 0 to 1.
        of_teacher: shares of the variance of what the student learns, along its first principal
            directions; none where the method has no projection, or one onto the whole space.
        of_span: what of each of these lies in the span of the projection.
        width: directions of that span.
    """

    features: str
    samples: str
    cka: float
    of_teacher: list[float] = field(default_factory=list)
    of_span: list[float] = field(default_factory=list)
    width: int = 0


@dataclass(frozen=True)
class Similarities:
    """The similarities of a run, and why there are none where there are none."""

    found: list[Similarity] = field(default_factory=list)
    reason: str = ""


def samples_to_compare(available: int, trained_on: int, least: int = 64, most: int = 512) -> int:
    """Return how many of the ``available`` samples to compare features on.

    At most ``most``, and but for the ``least`` no more than a hundredth of those that are
    ``trained_on`` over all epochs, which bounds what it costs.
    """
    return min(available, most, max(least, trained_on // _SHARE))


def similarity_of(
    features: str,
    samples: str,
    student: Tensor,
    teacher: Tensor,
    projection: Tensor | None = None,
    target: Tensor | None = None,
) -> Similarity:
    """Return how like features are.

    Args:
        features, samples: what is compared, in words.
        student: (N, S).
        teacher: (N, T).
        projection: (T, S), of the method; None where it has none.
        target: the teacher's features as the method compares them, (N, T).
    """
    cka = linear_cka(student, teacher)
    if projection is None or target is None:
        return Similarity(features=features, samples=samples, cka=cka)
    span = span_of(target, projection)
    if span.width == target.shape[1]:  # the whole space, of which nothing is to be seen
        return Similarity(features=features, samples=samples, cka=cka)
    return Similarity(
        features=features,
        samples=samples,
        cka=cka,
        of_teacher=_rounded(span.of_teacher),
        of_span=_rounded(span.of_span),
        width=span.width,
    )


def _rounded(shares: Tensor) -> list[float]:
    return [round(share, 6) for share in shares[:_MOST_DIRECTIONS].tolist()]


def write_similarities(folder: Path, stage: str, similarities: Similarities) -> None:
    """Write what a run's features are like ``before`` or ``after`` training."""
    write_whole(_file(folder, stage), json.dumps(asdict(similarities)) + "\n")


def read_similarities(folder: Path, stage: str) -> Similarities | None:
    """Return what ``write_similarities`` wrote; None where it did not.

    Raises:
        UserError: if the file is damaged.
    """
    file = _file(folder, stage)
    if not file.is_file():
        return None
    record = read_json(file)
    with as_damaged(file):
        found = [_similarity(one) for one in entries(record["found"], list)]
        return Similarities(found, str(record["reason"]))


def _file(folder: Path, stage: str) -> Path:
    return folder / f"similarity-{stage}.json"


def _similarity(record: dict[str, Any]) -> Similarity:
    return Similarity(
        features=str(record["features"]),
        samples=str(record["samples"]),
        cka=finite(record["cka"]),
        of_teacher=[finite(share) for share in record["of_teacher"]],
        of_span=[finite(share) for share in record["of_span"]],
        width=whole(record["width"]),
    )
