"""The VkD loss: project the student, normalise the teacher, take the distance (paper, eq. 1)."""

from collections.abc import Callable
from difflib import get_close_matches
from typing import TypeVar

from torch import Tensor, nn
from torch.nn import functional as F

from vkd.normalization import NORMALIZATIONS, Normalization
from vkd.projection import OrthogonalProjection
from vkd.similarity import explained_share

T = TypeVar("T")
Distance = Callable[[Tensor, Tensor], Tensor]

DISTANCES: dict[str, Distance] = {
    "smooth_l1": F.smooth_l1_loss,
    "l1": F.l1_loss,
    "mse": F.mse_loss,
}


class FeatureLoss(nn.Module):
    """Distance between projected student features and normalised, detached teacher features.

    Args:
        projection: maps (N, student_dim) to (N, teacher_dim).
        normalization: ``layer_norm``, ``standardize``, ``whiten``, ``identity`` or a function of
            (N, teacher_dim) features, applied to the teacher's.
        distance: ``smooth_l1`` (the paper's), ``l1``, ``mse`` or a function of two tensors.

    Attributes:
        explained: share of the variance of the normalised teacher features that the projected
            student features explained in the last batch, see ``vkd.similarity.explained_share``; a
            scalar, None before the first.

    Raises:
        ValueError: for unknown names, and in ``forward`` for shapes that do not match or
            features that are not finite.
    """

    explained: Tensor | None

    def __init__(
        self,
        projection: nn.Module,
        normalization: str | Normalization = "layer_norm",
        distance: str | Distance = "smooth_l1",
    ) -> None:
        super().__init__()
        self.projection = projection
        self.normalization: Normalization = _by_name(normalization, NORMALIZATIONS, "normalization")
        self.distance: Distance = _by_name(distance, DISTANCES, "distance")
        self.explained = None

    def forward(self, student_features: Tensor, teacher_features: Tensor) -> Tensor:
        """Return the scalar loss of student (N, student_dim) and teacher (N, teacher_dim).

        Values that are not finite make a loss that is not: raising here would stop one of several
        processes alone, and reading the values would stall a GPU.
        """
        _check_features("Student", student_features)
        _check_features("Teacher", teacher_features)
        target = self.normalization(teacher_features.detach())
        projected = self.projection(student_features)
        if projected.shape != target.shape:
            raise ValueError(
                f"The projected student features have shape {tuple(projected.shape)}, "
                f"the teacher's {tuple(target.shape)}; they must be equal."
            )
        self.explained = explained_share(projected, target)
        return self.distance(projected, target)


class VkDLoss(FeatureLoss):
    """``FeatureLoss`` with an orthogonal projection: the method of the paper.

    Args:
        student_dim: number of student features.
        teacher_dim: number of teacher features.
        normalization: of the teacher's features; see ``FeatureLoss``.
        distance: between the two; see ``FeatureLoss``.

    Source: paper, section 3; smooth L1 with mean reduction as in its release.
    """

    def __init__(
        self,
        student_dim: int,
        teacher_dim: int,
        normalization: str | Normalization = "layer_norm",
        distance: str | Distance = "smooth_l1",
    ) -> None:
        super().__init__(OrthogonalProjection(student_dim, teacher_dim), normalization, distance)


def _by_name(choice: str | T, known: dict[str, T], argument: str) -> T:
    if not isinstance(choice, str):
        return choice
    if choice not in known:
        close = get_close_matches(choice, known, n=1)
        hint = f"; did you mean {close[0]!r}" if close else ""
        raise ValueError(f"{argument} must be one of {', '.join(known)}, found {choice!r}{hint}.")
    return known[choice]


def _check_features(side: str, features: Tensor) -> None:
    if features.ndim != 2:
        raise ValueError(
            f"{side} features must have shape (N, D), found {tuple(features.shape)}; "
            "pool or flatten them first."
        )
