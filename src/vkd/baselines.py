"""Rivals of the orthogonal projection, for honest comparison."""

from torch import Tensor, nn
from torch.nn import functional as F

from vkd.projection import OrthogonalProjection


def logit_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Return the batch-mean KL divergence of softened class distributions (N, classes), times T².

    Raises:
        ValueError: if student and teacher do not have the same number of classes.

    Source: Hinton et al. 2015.
    """
    if student_logits.shape != teacher_logits.shape:
        raise ValueError(
            f"Logit distillation needs equal classes: the student's logits have shape "
            f"{tuple(student_logits.shape)}, the teacher's {tuple(teacher_logits.shape)}; "
            "distil features alone (logit weight 0) when the classes differ."
        )
    student = F.log_softmax(student_logits.float() / temperature, dim=1)
    teacher = F.log_softmax(teacher_logits.detach().float() / temperature, dim=1)
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True) * temperature**2


def linear_projection(student_dim: int, teacher_dim: int) -> nn.Module:
    """Return an unconstrained, bias-free linear map."""
    return nn.Linear(student_dim, teacher_dim, bias=False)


def mlp_projection(student_dim: int, teacher_dim: int) -> nn.Module:
    """Return a two-layer perceptron with one hidden layer of teacher_dim and GELU."""
    return nn.Sequential(
        nn.Linear(student_dim, teacher_dim), nn.GELU(), nn.Linear(teacher_dim, teacher_dim)
    )


def no_projection(student_dim: int, teacher_dim: int) -> nn.Module:
    """Return the identity: student and teacher features are compared as they are.

    Raises:
        ValueError: if they differ in number.
    """
    if student_dim != teacher_dim:
        raise ValueError(
            f"Without a projection the student needs as many features as the teacher; found "
            f"{student_dim} and {teacher_dim}."
        )
    return nn.Identity()


PROJECTIONS = {
    "orthogonal": OrthogonalProjection,
    "linear": linear_projection,
    "mlp": mlp_projection,
    "identity": no_projection,
}
