"""SRD: a linear projection, batch normalisation of both sides and the logarithm of a sum."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vkd.errors import UserError
from vkd.methods.checks import check_at_least, check_dims, full_precision
from vkd.methods.method import Method, Signals, Sizes, needed
from vkd.similarity import explained_share

_EPS = 1e-4  # of the batch normalisation, as in the paper's release


class SRD(Method):
    """Logarithm of the summed powers of differences between batch-normalised features.

    ``loss = log sum_nd |BN(W z_s)_nd - BN(z_t)_nd|^alpha`` for student features z_s (N, S),
    teacher features z_t (N, T) and a learned W (T, S). BN gives each feature mean 0 and biased
    variance 1 over the batch, without learned scale or shift. The sum runs over samples and
    features. A bias of W, which the release has, would be cancelled by BN.

    Args:
        sizes: student_dim S and teacher_dim T.
        alpha: exponent, at least 1.

    Raises:
        UserError: if alpha is out of range, or a batch has fewer than 2 samples.

    Source: Miles and Mikolajczyk, "Understanding the Role of the Projector in Knowledge
    Distillation", AAAI 2024, section 3, and its release.
    """

    def __init__(self, sizes: Sizes, *, alpha: float = 4.0) -> None:
        super().__init__(sizes)
        check_dims(sizes.student_dim, sizes.teacher_dim)
        check_at_least("alpha", alpha, 1)
        self.alpha = alpha
        self.projection = nn.Linear(sizes.student_dim, sizes.teacher_dim, bias=False)
        self._explained: Tensor | None = None

    def forward(self, signals: Signals) -> Tensor:
        """Return the scalar loss of a batch."""
        student, teacher = needed(signals, self)
        if len(student) < 2:
            raise UserError(f"SRD needs a batch of at least 2 samples, found {len(student)}.")
        with full_precision(student):
            ours = _batch_norm(self.projection(student.float()))
            known = _batch_norm(teacher.detach().float())
            self._explained = explained_share(ours, known)
            total = (ours - known).abs().pow(self.alpha).sum()
        return total.clamp(min=torch.finfo(total.dtype).tiny).log()

    @property
    def explained(self) -> Tensor | None:
        """See ``Method.explained``."""
        return self._explained

    def target(self, teacher_features: Tensor) -> Tensor:
        """Return the batch-normalised features of the teacher (N, T)."""
        return _batch_norm(teacher_features.float())

    def projection_weight(self) -> Tensor:
        """Return W (T, S)."""
        return self.projection.weight


def _batch_norm(features: Tensor) -> Tensor:
    return F.batch_norm(features, None, None, training=True, eps=_EPS)
