"""Distilling the tokens of one detector into another (paper, section 4.2)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from vkd.methods.method import Signals, Sizes
from vkd.models.vidt.detector import Tokens, ViDT
from vkd.precision import AS_AROUND, Precision


class TokenLoss(nn.Module):
    """The sum of a method's loss for the patches of each scale, the body's and the neck's tokens.

    Args:
        method: makes a method for one set of tokens.
        student_dim, teacher_dim: widths of the tokens.
        scales: number of patch maps.
    """

    def __init__(
        self,
        method: Callable[[Sizes], nn.Module],
        student_dim: int = 256,
        teacher_dim: int = 256,
        scales: int = 4,
    ) -> None:
        super().__init__()
        names = [f"patch_{scale}" for scale in range(scales)] + ["body", "neck"]
        sizes = Sizes(student_dim=student_dim, teacher_dim=teacher_dim)
        self.losses = nn.ModuleDict({name: method(sizes) for name in names})

    def forward(self, student: Tokens, teacher: Tokens) -> Tensor:
        """Return the scalar loss; the teacher's tokens are detached.

        Raises:
            ValueError: if the two have different numbers of detection tokens or layers.
        """
        pairs = zip(self.losses.values(), sets_of(student), sets_of(teacher), strict=True)
        terms = [
            loss(Signals(student_features=ours, teacher_features=theirs.detach()))
            for loss, ours, theirs in pairs
        ]
        return torch.stack(terms).sum()


def sets_of(tokens: Tokens) -> list[Tensor]:
    """Return each set of tokens as rows (N, dim): patches of each scale, the body's, the neck's."""
    patches = [map_.movedim(1, -1).flatten(0, 2) for map_ in tokens.patches]
    return [*patches, tokens.body.flatten(0, 1), tokens.neck.flatten(0, 2)]


class TokenTeacher:
    """A frozen detector that gives its tokens, computed without gradients.

    It is no ``nn.Module`` on purpose: whatever holds it neither trains, saves nor wraps it.

    Args:
        model: the detector.
        precision: arithmetic and layout that it computes in; its weights stay as they are.
    """

    def __init__(self, model: ViDT, precision: Precision = AS_AROUND) -> None:
        self.model, self.precision = model.eval().requires_grad_(False), precision

    @torch.no_grad()
    def __call__(self, images: Tensor, mask: Tensor) -> Tokens:
        self.model.to(images.device).eval()
        with self.precision.running(images.device.type):
            found = self.model(self.precision.laid_out(images), mask, with_tokens=True)["tokens"]
        returned = self.precision.returned
        patches = [returned(map_) for map_ in found.patches]
        return Tokens(patches, returned(found.body), returned(found.neck))
