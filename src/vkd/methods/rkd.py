"""RKD: distances and angles between the samples of a batch."""

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from vkd.methods.checks import check_at_least, full_precision
from vkd.methods.method import Method, Signals, Sizes, needed


class RKD(Method):
    """Huber distance between the relations of student samples and those of the teacher's.

    Relations are distances of pairs, divided by their batch mean, and cosines of the angles of
    triplets:

    ``loss = a mean_ij h(|x_i - x_j| / mu_x - |y_i - y_j| / mu_y)``
    ``     + b mean_ijk h(cos(x_j - x_i, x_k - x_i) - cos(y_j - y_i, y_k - y_i))``

    for student features x (N, S), teacher features y (N, T) and h the Huber (smooth L1) function;
    mu is the mean of distances above 0. Pairs and triplets with equal members are in the means, as
    in the paper's release. S and T may differ. Memory grows as N² max(S, T) + N³.

    Args:
        sizes: not used.
        distance_weight: a, at least 0.
        angle_weight: b, at least 0.

    Raises:
        UserError: if an option is out of range.

    Source: Park, Kim, Lu and Cho, "Relational Knowledge Distillation", CVPR 2019, section 3.2.
    """

    relational: ClassVar[bool] = True

    def __init__(
        self, sizes: Sizes, *, distance_weight: float = 25.0, angle_weight: float = 50.0
    ) -> None:
        super().__init__(sizes)
        check_at_least("distance_weight", distance_weight, 0)
        check_at_least("angle_weight", angle_weight, 0)
        self.distance_weight, self.angle_weight = distance_weight, angle_weight

    def forward(self, signals: Signals) -> Tensor:
        """Return the scalar loss of a batch."""
        student, teacher = needed(signals, self)
        with full_precision(student):
            distances, angles = _relations(student.float())
            known_distances, known_angles = _relations(teacher.detach().float())
            loss = self.distance_weight * F.smooth_l1_loss(distances, known_distances)
            return loss + self.angle_weight * F.smooth_l1_loss(angles, known_angles)


def _relations(features: Tensor) -> tuple[Tensor, Tensor]:
    """Scaled distances (N, N) and cosines (N, N, N) of the angles at the first index."""
    differences = features[None] - features[:, None]
    distances = differences.norm(dim=2)
    mean = distances.sum() / (distances > 0).sum().clamp(min=1)
    # A batch of equal samples has no distances; dividing by 1 keeps its gradient finite.
    scaled = distances / torch.where(mean > 0, mean, 1.0)
    directions = F.normalize(differences, dim=2)
    return scaled, directions @ directions.mT
