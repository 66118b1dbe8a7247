"""KD: the teacher's softened class distribution."""

from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from vkd.errors import UserError
from vkd.methods.checks import check_positive
from vkd.methods.method import Method, Signals, Sizes, needed


def logit_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Return the batch-mean KL divergence of softened class distributions (N, classes), times T².

    Raises:
        UserError: if student and teacher do not have the same number of classes.

    Source: Hinton et al. 2015.
    """
    check_classes(student_logits, teacher_logits)
    student = F.log_softmax(student_logits.float() / temperature, dim=1)
    teacher = F.log_softmax(teacher_logits.detach().float() / temperature, dim=1)
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True) * temperature**2


def check_classes(student_logits: Tensor, teacher_logits: Tensor) -> None:
    """Raise a UserError unless the two have the same shape."""
    if student_logits.shape != teacher_logits.shape:
        raise UserError(
            f"Logit distillation needs equal classes: the student's logits have shape "
            f"{tuple(student_logits.shape)}, the teacher's {tuple(teacher_logits.shape)}; "
            "distil features alone (logit weight 0) when the classes differ."
        )


class KD(Method):
    """KL divergence of the student's from the teacher's softened class distribution.

    ``loss = T² mean_n KL(softmax(t_n / T) || softmax(s_n / T))`` for logits s, t (N, classes).

    Args:
        sizes: not used.
        temperature: T, above 0.

    Raises:
        UserError: if the temperature is out of range, or the classes of the two differ.

    Source: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015,
    section 2.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"student_logits", "teacher_logits"})
    recipe_fields: ClassVar[frozenset[str]] = frozenset({"temperature"})

    def __init__(self, sizes: Sizes, *, temperature: float = 1.0) -> None:
        super().__init__(sizes)
        check_positive("temperature", temperature)
        self.temperature = temperature

    def forward(self, signals: Signals) -> Tensor:
        """Return the scalar loss of a batch."""
        student, teacher = needed(signals, self)
        return logit_loss(student, teacher, self.temperature)
