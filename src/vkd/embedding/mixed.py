"""Retrieval between a student and its teacher, which the orthogonal projection gives for nothing.

With a projection P (teacher_dim, student_dim) of orthonormal columns a student's features z and a
teacher's t can be compared in either space, by the same number:

    <P z, t> = z' P' t = <z, P' t>

- ``projected`` takes z into the teacher's space, so that an index of the teacher's features can be
  searched with a student.
- ``folded`` takes t into the student's space, so that such an index shrinks to the student's width.
  What it drops, the part of t outside of P's columns, is orthogonal to all that a student can say.

Lengths: P keeps that of z, so that cosines in the teacher's space order the rows of an index as
inner products with rows of length 1 do. P' shortens t, each row by another share; cosines with
folded rows therefore order them differently, and by what is left of each row alone. Where the
teacher is narrower P has orthonormal rows: the inner products agree as well, and it is P' that
keeps lengths.

Origin: cosines are angles at 0, so that both sides must mean the same point by it. A student learnt
the teacher's features n(t) as the recipe normalised them, and n(t) is what is indexed:

- ``layer_norm`` takes the mean of each row from it, and scales it to the length sqrt(teacher_dim).
  It needs no other row, so that an index may grow, and cosines of such rows are the correlations of
  raw ones. The mean over all rows stays: centring an index by its own mean would move its origin
  away from the one that the student learnt.
- ``standardize`` and ``whiten`` put the mean of many rows at 0: of a batch in training, of the
  whole index here.
- ``identity`` leaves raw features as they are.
"""

import torch
from torch import Tensor


def projected(student_features: Tensor, projection: Tensor) -> Tensor:
    """Return a student's features (N, student_dim) in the teacher's space, (N, teacher_dim).

    Args:
        student_features: (N, student_dim).
        projection: (teacher_dim, student_dim), see ``vkd.OrthogonalProjection.weight``.

    Raises:
        ValueError: if the widths do not fit.
    """
    return _product(student_features, projection, axis=1, owner="student")


def folded(teacher_features: Tensor, projection: Tensor) -> Tensor:
    """Return a teacher's features (N, teacher_dim) in the student's space, (N, student_dim).

    Args:
        teacher_features: (N, teacher_dim), normalised as in training.
        projection: (teacher_dim, student_dim).

    Raises:
        ValueError: if the widths do not fit.
    """
    return _product(teacher_features, projection, axis=0, owner="teacher")


def _product(features: Tensor, projection: Tensor, axis: int, owner: str) -> Tensor:
    if features.ndim != 2 or projection.ndim != 2 or features.shape[1] != projection.shape[axis]:
        raise ValueError(
            f"The {owner}'s features must be (N, {tuple(projection.shape)[axis]}), as the "
            f"projection is {tuple(projection.shape)}; found {tuple(features.shape)}."
        )
    matrix = projection.T if axis == 1 else projection
    return features.to(torch.promote_types(features.dtype, torch.float32)) @ matrix.to(
        torch.promote_types(features.dtype, torch.float32)
    )
