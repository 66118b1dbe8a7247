"""VkD: an orthogonal projection and a normalisation of the teacher's features."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from vkd.errors import UserError, as_user_error
from vkd.loss import DISTANCES, Distance, FeatureLoss
from vkd.methods.checks import check_choice, full_precision
from vkd.methods.method import Method, Signals, Sizes, needed
from vkd.methods.projections import PROJECTIONS
from vkd.normalization import NORMALIZATIONS, Normalization, standardize
from vkd.projection import OrthogonalProjection


class ScaledProjection(nn.Module):
    """A projection, a learned scale and shift per feature, and a normalisation.

    The paper normalises both sides; the scale and shift of its release come before, and so are
    cancelled by ``standardize`` but for what they do to the optimiser.

    Args:
        projection: maps (N, student_dim) to (N, dim).
        dim: features that come out.
        normalization: a name of ``vkd.normalization``, or a function of (N, dim) features.
    """

    def __init__(self, projection: nn.Module, dim: int, normalization: str | Normalization) -> None:
        super().__init__()
        self.projection = projection
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.normalization: Normalization = (
            NORMALIZATIONS[normalization] if isinstance(normalization, str) else normalization
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, student_dim) to (N, dim)."""
        return self.normalization(self.projection(features) * self.weight + self.bias)


class StandardizedProjection(nn.Module):
    """A projection of student features that are standardised over the batch, and a learned scale.

    For students whose own normalisation decides how large features are: spectral normalisation
    makes those of a discriminator small, and an orthogonal projection keeps lengths, so that they
    could never reach whitened targets. The scale lets a feature that is sure of little say little.

    Args:
        projection: maps (N, student_dim) to (N, dim).
    """

    def __init__(self, projection: nn.Module) -> None:
        super().__init__()
        self.projection = projection
        # Of one element, as FSDP takes no scalar.
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, student_dim) to (N, dim)."""
        return self.projection(standardize(features)) * self.scale


class VkD(Method):
    """Distance between projected student and normalised teacher features.

    ``loss = d(P z_s, n(z_t))`` for student features z_s (N, S), teacher features z_t (N, T), a
    projection P (T, S) with orthonormal columns or rows, a normalisation n and a distance d.

    Args:
        sizes: student_dim S and teacher_dim T.
        projection: ``orthogonal``, ``linear``, ``mlp`` or ``identity``.
        normalization: ``layer_norm``, ``standardize``, ``whiten``, ``identity`` or a function of
            (N, T) features.
        distance: ``smooth_l1``, ``l1``, ``mse`` or a function of two (N, T) tensors.
        both_sides: whether the projected student features get a learned scale and shift per
            feature, and then the normalisation too (section 4.2).
        standardize_student: whether the student features are standardised over the batch before
            the projection, and what it gives has a learned scale.

    Raises:
        UserError: for unknown names, for ``identity`` with S != T, and for ``both_sides`` with
            ``standardize_student``.

    Source: Miles, Elezi and Deng, "VkD: Improving Knowledge Distillation using Orthogonal
    Projections", CVPR 2024, section 3 and equation 1.
    """

    recipe_fields: ClassVar[frozenset[str]] = frozenset(
        {"projection", "normalization", "distance", "both_sides", "standardize_student"}
    )

    def __init__(
        self,
        sizes: Sizes,
        *,
        projection: str = "orthogonal",
        normalization: str | Normalization = "layer_norm",
        distance: str | Distance = "smooth_l1",
        both_sides: bool = False,
        standardize_student: bool = False,
    ) -> None:
        super().__init__(sizes)
        if both_sides and standardize_student:
            raise UserError(
                "both_sides and standardize_student both normalise the student; choose one."
            )
        check_choice("projection", projection, PROJECTIONS)
        check_choice("normalization", normalization, NORMALIZATIONS)
        check_choice("distance", distance, DISTANCES)
        with as_user_error("projection"):
            module = PROJECTIONS[projection](sizes.student_dim, sizes.teacher_dim)
        if both_sides:
            module = ScaledProjection(module, sizes.teacher_dim, normalization)
        if standardize_student:
            module = StandardizedProjection(module)
        self.loss = FeatureLoss(module, normalization, distance)

    def forward(self, signals: Signals) -> Tensor:
        """Return the scalar loss of a batch."""
        student, teacher = needed(signals, self)
        with full_precision(student):
            return self.loss(student.float(), teacher.float())

    @property
    def explained(self) -> Tensor | None:
        """See ``Method.explained``."""
        return self.loss.explained

    @torch.no_grad()
    def load_projection(self, weights: Mapping[str, Tensor]) -> dict[str, str]:
        """Take an orthogonal projection that was trained elsewhere, see ``Method``.

        Raises:
            ValueError: if the matrix is not orthonormal.
        """
        outer, projection = self.loss.projection, self._projection()
        matrix = weights["projection"]
        if not isinstance(projection, OrthogonalProjection):
            return {}
        if matrix.shape != projection.parameter.shape:
            return {}
        projection.load_weight(matrix)
        own = {"projection": projection.parameter}
        if isinstance(outer, ScaledProjection) and {"weight", "bias"} <= weights.keys():
            outer.weight.copy_(weights["weight"])
            outer.bias.copy_(weights["bias"])
            own |= {"weight": outer.weight, "bias": outer.bias}
        names = {id(parameter): name for name, parameter in self.named_parameters()}
        return {part: names[id(parameter)] for part, parameter in own.items()}

    def target(self, teacher_features: Tensor) -> Tensor:
        """Return the normalised features of the teacher (N, T)."""
        with full_precision(teacher_features):
            return self.loss.normalization(teacher_features.float())

    def projection_weight(self) -> Tensor | None:
        """Return the matrix (T, S) of a linear projection; None for ``mlp`` and ``identity``."""
        projection = self._projection()
        if isinstance(projection, OrthogonalProjection | nn.Linear):
            return projection.weight
        return None

    def _projection(self) -> nn.Module:
        """The map from student to teacher features itself."""
        outer = self.loss.projection
        if isinstance(outer, ScaledProjection | StandardizedProjection):
            return outer.projection
        return outer
