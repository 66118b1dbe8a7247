"""Maps from student to teacher features, by name; rivals of the orthogonal one among them."""

from collections.abc import Callable

from torch import nn

from vkd.projection import OrthogonalProjection


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


PROJECTIONS: dict[str, Callable[[int, int], nn.Module]] = {
    "orthogonal": OrthogonalProjection,
    "linear": linear_projection,
    "mlp": mlp_projection,
    "identity": no_projection,
}
