"""DIST: correlations of class shares in place of their divergence."""

from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from vkd.methods.checks import check_at_least, check_positive
from vkd.methods.kd import check_classes
from vkd.methods.method import Method, Signals, Sizes, needed


class DIST(Method):
    """One minus the Pearson correlation of class shares, along classes and along the batch.

    With softened shares P (teacher) and Q (student), both (N, classes), and r Pearson's
    correlation:

    ``loss = tau² [beta (1 - mean_n r(P[n, :], Q[n, :])) + gamma (1 - mean_c r(P[:, c], Q[:, c]))]``

    Relations within a class compare samples, at a cost that is linear in their number.

    Args:
        sizes: not used.
        beta: weight of the relations between classes (of a sample), at least 0.
        gamma: weight of the relations within a class (of the batch), at least 0.
        temperature: tau, above 0; the paper's 1.

    Raises:
        UserError: if an option is out of range, or the classes of the two differ.

    Source: Huang, You, Wang, Qian and Xu, "Knowledge Distillation from A Stronger Teacher",
    NeurIPS 2022, section 4, with the factor tau² of its release.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"student_logits", "teacher_logits"})

    def __init__(
        self, sizes: Sizes, *, beta: float = 1.0, gamma: float = 1.0, temperature: float = 1.0
    ) -> None:
        super().__init__(sizes)
        check_at_least("beta", beta, 0)
        check_at_least("gamma", gamma, 0)
        check_positive("temperature", temperature)
        self.beta, self.gamma, self.temperature = beta, gamma, temperature

    def forward(self, signals: Signals) -> Tensor:
        """Return the scalar loss of a batch."""
        student, teacher = needed(signals, self)
        check_classes(student, teacher)
        ours = F.softmax(student.float() / self.temperature, dim=1)
        known = F.softmax(teacher.detach().float() / self.temperature, dim=1)
        between = 1 - pearson(ours, known).mean()
        within = 1 - pearson(ours.T, known.T).mean()
        return (self.beta * between + self.gamma * within) * self.temperature**2


def pearson(first: Tensor, second: Tensor) -> Tensor:
    """Return the correlation (N,) of each row of two (N, D) tensors; 0 where a row is constant."""
    first = first - first.mean(1, keepdim=True)
    second = second - second.mean(1, keepdim=True)
    return F.cosine_similarity(first, second, dim=1)
