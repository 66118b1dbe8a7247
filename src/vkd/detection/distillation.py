"""Distilling the tokens of one detector into another (paper, section 4.2)."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from vkd.loss import FeatureLoss
from vkd.methods.vkd import ScaledProjection
from vkd.models.vidt.detector import Tokens, ViDT


class TokenLoss(nn.Module):
    """The sum of a feature loss for the patches of each scale, the body's and the neck's tokens.

    Args:
        projection: makes the map from the student's to the teacher's features.
        student_dim, teacher_dim: widths of the tokens.
        scales: number of patch maps.
        normalization: of both sides.
        distance: see ``FeatureLoss``.
    """

    def __init__(
        self,
        projection: Callable[[int, int], nn.Module],
        student_dim: int = 256,
        teacher_dim: int = 256,
        scales: int = 4,
        normalization: Literal["standardize", "layer_norm", "whiten", "identity"] = "standardize",
        distance: str = "smooth_l1",
    ) -> None:
        super().__init__()
        names = [f"patch_{scale}" for scale in range(scales)] + ["body", "neck"]
        self.losses = nn.ModuleDict(
            {
                name: FeatureLoss(
                    ScaledProjection(
                        projection(student_dim, teacher_dim), teacher_dim, normalization
                    ),
                    normalization,
                    distance,
                )
                for name in names
            }
        )

    def forward(self, student: Tokens, teacher: Tokens) -> Tensor:
        """Return the scalar loss; the teacher's tokens are detached.

        Raises:
            ValueError: if the two have different numbers of detection tokens or layers.
        """
        pairs = zip(self.losses.values(), _sets(student), _sets(teacher), strict=True)
        return torch.stack([loss(ours, theirs) for loss, ours, theirs in pairs]).sum()


def _sets(tokens: Tokens) -> list[Tensor]:
    """Each set of tokens as rows (N, dim)."""
    patches = [map_.movedim(1, -1).flatten(0, 2) for map_ in tokens.patches]
    return [*patches, tokens.body.flatten(0, 1), tokens.neck.flatten(0, 2)]


class TokenTeacher:
    """A frozen detector that answers with its tokens, computed without gradients.

    It is no ``nn.Module`` on purpose: whatever holds it neither trains, saves nor wraps it.
    """

    def __init__(self, model: ViDT) -> None:
        self.model = model.eval().requires_grad_(False)

    @torch.no_grad()
    def __call__(self, images: Tensor, mask: Tensor) -> Tokens:
        self.model.to(images.device).eval()
        return self.model(images, mask, with_tokens=True)["tokens"]
