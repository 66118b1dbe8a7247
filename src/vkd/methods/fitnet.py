"""FitNet: a learned regressor from student to teacher features."""

from vkd.loss import Distance
from vkd.methods.method import Sizes
from vkd.methods.vkd import VkD
from vkd.normalization import Normalization


class FitNet(VkD):
    """Distance between regressed student features and the teacher's as they are.

    ``loss = d(r(z_s), z_t)`` for student features z_s (N, S), teacher features z_t (N, T) and a
    regressor r. The paper guides a middle layer of convolutions by squared errors
    (``distance="mse"``); here r acts on pooled features, and the distance is the recipe's.

    Args:
        sizes, projection, normalization, distance, both_sides, standardize_student: as in ``VkD``;
            r is the projection.

    Raises:
        UserError: as ``VkD``.

    Source: Romero, Ballas, Kahou, Chassang, Gatta and Bengio, "FitNets: Hints for Thin Deep Nets",
    ICLR 2015, section 2.2 and equation 3.
    """

    def __init__(
        self,
        sizes: Sizes,
        *,
        projection: str = "linear",
        normalization: str | Normalization = "identity",
        distance: str | Distance = "smooth_l1",
        both_sides: bool = False,
        standardize_student: bool = False,
    ) -> None:
        super().__init__(
            sizes,
            projection=projection,
            normalization=normalization,
            distance=distance,
            both_sides=both_sides,
            standardize_student=standardize_student,
        )
