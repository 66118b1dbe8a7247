"""DKD: the teacher's confidence in the target class apart from its view of the others."""

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from vkd.errors import UserError
from vkd.methods.checks import check_at_least, check_positive
from vkd.methods.kd import check_classes
from vkd.methods.method import Method, Signals, Sizes, needed


class DKD(Method):
    """Decoupled KD: the target's share and the distribution of the others are weighed apart.

    With softened distributions p (teacher) and q (student), the target class t, and p', q' over
    the other classes alone:

    ``loss = T² mean_n [alpha KL((p_t, 1 - p_t) || (q_t, 1 - q_t)) + beta KL(p' || q')]``

    KD is the case of alpha = 1 and beta = 1 - p_t. Logits are (N, classes), labels (N,). Where
    labels are shares of mixed classes (N, classes), the class with the largest share is the
    target. The warm-up of the loss over the first epochs in the paper's release is not part of it.

    Args:
        sizes: not used.
        temperature: T, above 0; not the recipe's, whose usual 1 hides the other classes.
        alpha: weight of the target's part, at least 0.
        beta: weight of the others' part, at least 0; the paper takes 8 or less, 0.5 on ImageNet.

    Raises:
        UserError: if an option is out of range, the classes of the two differ, or are fewer than 2.

    Source: Zhao, Cui, Song, Qiu and Liang, "Decoupled Knowledge Distillation", CVPR 2022,
    section 3 and equation 7.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"student_logits", "teacher_logits", "labels"})

    def __init__(
        self, sizes: Sizes, *, temperature: float = 4.0, alpha: float = 1.0, beta: float = 8.0
    ) -> None:
        super().__init__(sizes)
        check_positive("temperature", temperature)
        check_at_least("alpha", alpha, 0)
        check_at_least("beta", beta, 0)
        self.temperature, self.alpha, self.beta = temperature, alpha, beta

    def forward(self, signals: Signals) -> Tensor:
        """Return the scalar loss of a batch."""
        student, teacher, labels = needed(signals, self)
        check_classes(student, teacher)
        if student.shape[1] < 2:
            raise UserError(f"DKD needs at least 2 classes, found {student.shape[1]}.")
        targets = labels.argmax(1) if labels.ndim == 2 else labels
        ours, our_others = _decoupled(student.float() / self.temperature, targets)
        known, known_others = _decoupled(teacher.detach().float() / self.temperature, targets)
        loss = self.alpha * _divergence(ours, known)
        loss = loss + self.beta * _divergence(our_others, known_others)
        return loss * self.temperature**2


def _decoupled(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Log shares (N, 2) of the target and the rest, and log shares (N, classes - 1) of the rest."""
    columns = torch.arange(logits.shape[1] - 1, device=logits.device)
    # Columns from the target's on move up by one, which leaves the target out.
    others = logits.gather(1, columns + (columns >= targets[:, None]).long())
    target = logits.gather(1, targets[:, None])
    pair = torch.cat([target, others.logsumexp(1, keepdim=True)], dim=1)
    return F.log_softmax(pair, dim=1), F.log_softmax(others, dim=1)


def _divergence(ours: Tensor, known: Tensor) -> Tensor:
    return F.kl_div(ours, known, reduction="batchmean", log_target=True)
