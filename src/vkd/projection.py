"""The orthogonal projection: a linear map that keeps inner products (paper, section 3.1).

Shapes: N samples, S student features, T teacher features, L = max(S, T), K = min(S, T).

The module stores an unconstrained matrix ``V`` (L, K) and computes with the Q factor of its thin
QR decomposition, ``Q = V R^-1`` and ``R`` upper triangular with a positive diagonal. ``Q`` itself
is never formed: the Gram matrix ``V' V = R' R`` is only K wide, so its Cholesky factor and
triangular solves against the (N, K) features give ``x Q' = (x R^-1) V'`` at little more than the
cost of a plain linear map.

That is accurate where ``V`` is well-conditioned. As ``V`` and ``V A`` have the same Q for every
upper triangular ``A`` with a positive diagonal, any other ``V`` is multiplied by one first that
makes its columns nearly orthonormal. On the CPU this is done where ``V`` needs it. Elsewhere the
host would have to wait for the value that tells, so it is always done: it costs little there.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

# The smallest squared sine of the angle between a column of V and the span of the columns before
# it for which fp32 Cholesky keeps Q orthonormal to well below 1e-5.
_MIN_SQUARED_SINE = 0.15
_GRAM_BLOCK = 128
# Of a column's length: what keeps columns apart that depend on each other exactly.
_APART = 1e-8


class OrthogonalProjection(nn.Module):
    """Bias-free linear map (..., student_dim) -> (..., teacher_dim) with orthonormal weight.

    The weight (teacher_dim, student_dim) has orthonormal columns, or orthonormal rows when
    ``teacher_dim < student_dim``. It starts uniform on the Stiefel manifold and stays on it under
    any optimiser and any weight decay, because the map depends on ``parameter`` only through its
    column space and orientation, not its scale. Computes and returns float32 (float64 for a
    float64 parameter), under autocast too.

    Args:
        student_dim: number of student features, at least 1.
        teacher_dim: number of teacher features, at least 1.

    Raises:
        ValueError: if a dimension is below 1, or the input's last dimension is not student_dim.

    Source: paper, section 3.1, with Cholesky QR in place of the matrix exponential.
    """

    def __init__(self, student_dim: int, teacher_dim: int) -> None:
        super().__init__()
        for name, dim in (("student_dim", student_dim), ("teacher_dim", teacher_dim)):
            if dim < 1:
                raise ValueError(f"{name} must be at least 1, found {dim}.")
        self.student_dim = student_dim
        self.teacher_dim = teacher_dim
        self.parameter = nn.Parameter(torch.empty(teacher_dim, student_dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weight anew, uniformly (Haar) on the Stiefel manifold."""
        nn.init.orthogonal_(self.parameter)

    @property
    def weight(self) -> Tensor:
        """The orthonormal matrix (teacher_dim, student_dim), differentiable in ``parameter``."""
        eye = torch.eye(self.student_dim, device=self.parameter.device, dtype=self.parameter.dtype)
        return self(eye).T

    def forward(self, features: Tensor) -> Tensor:
        """Project (..., student_dim) to (..., teacher_dim)."""
        if features.shape[-1] != self.student_dim:
            raise ValueError(
                f"OrthogonalProjection expects {self.student_dim} features in the last dimension, "
                f"found shape {tuple(features.shape)}."
            )
        dtype = torch.promote_types(self.parameter.dtype, torch.float32)
        rows = features.reshape(-1, self.student_dim).to(dtype)
        matrix = self.parameter.to(dtype)
        is_tall = self.teacher_dim >= self.student_dim
        on_host = matrix.device.type == "cpu"
        projected = _projected(rows, matrix if is_tall else matrix.T, is_tall, on_host)
        return projected.reshape(*features.shape[:-1], self.teacher_dim)

    @torch.no_grad()
    def load_weight(self, weight: Tensor) -> None:
        """Set the projection to an orthonormal ``weight`` (teacher_dim, student_dim).

        Raises:
            ValueError: if the shape differs or the weight is not orthonormal within 1e-3.
        """
        if weight.shape != self.parameter.shape:
            raise ValueError(
                f"The projection's weight must have shape {tuple(self.parameter.shape)}, "
                f"found {tuple(weight.shape)}."
            )
        error = orthogonality_error(weight)
        if not error <= 1e-3:
            raise ValueError(f"The weight is not orthonormal: max|Q'Q - I| is {error:.1e}.")
        self.parameter.copy_(weight)

    @torch.no_grad()
    def export_linear(self) -> nn.Linear:
        """Return the same map as a plain, bias-free ``nn.Linear`` that is free of this module."""
        linear = nn.Linear(self.student_dim, self.teacher_dim, bias=False)
        linear = linear.to(self.parameter.device, self.weight.dtype)
        linear.weight.copy_(self.weight)
        return linear

    def extra_repr(self) -> str:
        return f"student_dim={self.student_dim}, teacher_dim={self.teacher_dim}"


def orthogonality_error(weight: Tensor) -> float:
    """Return ``max|Q'Q - I|`` (``QQ'`` for a wide matrix), computed in float64 on the CPU."""
    tall = weight if weight.shape[0] >= weight.shape[1] else weight.T
    tall = tall.detach().to("cpu", torch.float64)
    return float((tall.T @ tall - torch.eye(tall.shape[1], dtype=torch.float64)).abs().max())


def _projected(rows: Tensor, tall: Tensor, expands: bool, on_host: bool) -> Tensor:
    """x Q' from K to L features if it ``expands``, else x Q from L to K, by the Q of ``tall``.

    ``on_host`` allows to look at values, which lie in the host's memory.
    """
    if not on_host:
        tall, _ = _conditioned(tall)
    operator = _expand if expands else _reduce
    projected, _ = operator(rows, tall, on_host)
    return projected


# Custom operators, because what is done may depend on values, which torch.compile cannot trace in
# one graph, and because the closed-form gradient needs fewer products than autograd's.


def _expanded(rows: Tensor, tall: Tensor, on_host: bool) -> tuple[Tensor, Tensor]:
    with _full_precision(rows.device):
        lower = _cholesky_factor(tall)
        frame, own, _ = _trusted(tall, lower, on_host)
        return _solve(own, rows) @ frame.T, lower


def _reduced(rows: Tensor, tall: Tensor, on_host: bool) -> tuple[Tensor, Tensor]:
    with _full_precision(rows.device):
        lower = _cholesky_factor(tall)
        frame, own, _ = _trusted(tall, lower, on_host)
        return _solve_transposed(own, rows @ frame), lower


def _expand_gradients(
    grad: Tensor, rows: Tensor, tall: Tensor, lower: Tensor, on_host: bool
) -> tuple[Tensor, Tensor]:
    with _full_precision(rows.device):
        frame, own, factor = _trusted(tall, lower, on_host)
        grad_rows = _solve_transposed(own, grad @ frame)
        return grad_rows, _pulled_back(_frame_gradient(rows, grad, grad_rows, frame, own), factor)


def _reduce_gradients(
    grad: Tensor, rows: Tensor, tall: Tensor, lower: Tensor, on_host: bool
) -> tuple[Tensor, Tensor]:
    with _full_precision(rows.device):
        frame, own, factor = _trusted(tall, lower, on_host)
        projected = _solve_transposed(own, rows @ frame)
        grad_tall = _pulled_back(_frame_gradient(grad, rows, projected, frame, own), factor)
        return _solve(own, grad) @ frame.T, grad_tall


_expand = torch.library.custom_op("vkd::expand", _expanded, mutates_args=())
_reduce = torch.library.custom_op("vkd::reduce", _reduced, mutates_args=())
_expand_backward = torch.library.custom_op(
    "vkd::expand_backward", _expand_gradients, mutates_args=()
)
_reduce_backward = torch.library.custom_op(
    "vkd::reduce_backward", _reduce_gradients, mutates_args=()
)


@_expand.register_fake
def _(rows: Tensor, tall: Tensor, on_host: bool) -> tuple[Tensor, Tensor]:
    dim = tall.shape[1]
    return rows.new_empty(len(rows), len(tall)), tall.new_empty(dim, dim)


@_reduce.register_fake
def _(rows: Tensor, tall: Tensor, on_host: bool) -> tuple[Tensor, Tensor]:
    dim = tall.shape[1]
    return rows.new_empty(len(rows), dim), tall.new_empty(dim, dim)


@_expand_backward.register_fake
@_reduce_backward.register_fake
def _(
    grad: Tensor, rows: Tensor, tall: Tensor, lower: Tensor, on_host: bool
) -> tuple[Tensor, Tensor]:
    return rows.new_empty(rows.shape), tall.new_empty(tall.shape)


def _save(ctx, inputs: tuple[Tensor, Tensor, bool], output: tuple[Tensor, Tensor]) -> None:  # type: ignore[no-untyped-def]
    rows, tall, ctx.on_host = inputs
    ctx.save_for_backward(rows, tall, output[1])
    ctx.mark_non_differentiable(output[1])


def _expand_gradient(ctx, grad: Tensor, _: Tensor) -> tuple[Tensor, Tensor, None]:  # type: ignore[no-untyped-def]
    return *_expand_backward(grad.contiguous(), *ctx.saved_tensors, ctx.on_host), None


def _reduce_gradient(ctx, grad: Tensor, _: Tensor) -> tuple[Tensor, Tensor, None]:  # type: ignore[no-untyped-def]
    return *_reduce_backward(grad.contiguous(), *ctx.saved_tensors, ctx.on_host), None


_expand.register_autograd(_expand_gradient, setup_context=_save)
_reduce.register_autograd(_reduce_gradient, setup_context=_save)


def _frame_gradient(
    small: Tensor, large: Tensor, pulled: Tensor, frame: Tensor, lower: Tensor
) -> Tensor:
    """Gradient (L, K) of a frame for dL/dQ = large' small, where ``pulled`` = large Q.

    The QR derivative with R free (Walter and Lehmann, 2010): (dQ - Q copyltu(dQ' Q)) R^-T.
    """
    inner = _copy_lower_to_upper(small.T @ pulled)
    inner = torch.linalg.solve_triangular(lower.T, inner, upper=True)
    inner = _solve(lower, inner)
    return (large.T @ _solve(lower, small)).addmm_(frame, inner, alpha=-1)


def _pulled_back(grad_frame: Tensor, factor: Tensor | None) -> Tensor:
    """The gradient of V for that of its frame ``V factor``."""
    return grad_frame if factor is None else (grad_frame.to(factor) @ factor.T).to(grad_frame)


def _trusted(tall: Tensor, lower: Tensor, on_host: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    """A well-conditioned frame of V, its Cholesky factor, and what V was multiplied by.

    This is V itself with its own factor ``lower``, unless values may be looked at and object.
    """
    if not on_host or _is_well_conditioned(lower):
        return tall, lower, None
    frame, factor = _conditioned(tall)
    return frame, _cholesky_factor(frame), factor


def _cholesky_factor(tall: Tensor) -> Tensor:
    """Lower Cholesky factor (K, K) of the Gram matrix; of no meaning where there is none."""
    # LAPACK's columns are our rows.
    return torch.linalg.cholesky_ex(_gram(tall).T, upper=True)[0].T


def _is_well_conditioned(lower: Tensor) -> bool:
    # By NumPy, which shares the memory.
    factor = lower.numpy()
    squares = np.square(factor)
    return bool((squares.diagonal() > _MIN_SQUARED_SINE * squares.sum(1)).all())


def _conditioned(tall: Tensor) -> tuple[Tensor, Tensor]:
    """A well-conditioned frame ``V A``, differentiable in V, and the constant upper triangular A.

    Columns are scaled to length 1, then shifted Cholesky QR is applied twice (Fukaya et al. 2020),
    in float64, but on devices that have none.
    """
    exact = tall.to(torch.float32 if tall.device.type == "mps" else torch.float64)
    with torch.no_grad():
        lengths = exact.norm(dim=0)
        lengths = torch.where(lengths > 0, lengths, 1.0)
        apart = _APART * torch.eye(*exact.shape, dtype=exact.dtype, device=exact.device) * lengths
        shift = 10 * exact.shape[1] * torch.finfo(exact.dtype).eps
        frame, factor = (exact + apart) / lengths, torch.diag(1 / lengths)
        for _ in range(2):
            gram = frame.T @ frame
            gram.diagonal().add_(shift)
            lower = torch.linalg.cholesky_ex(gram)[0]
            frame, factor = _solve_transposed(lower, frame), _solve_transposed(lower, factor)
    return ((exact + apart) @ factor).to(tall), factor


def _gram(tall: Tensor) -> Tensor:
    """Lower block triangle of V' V, which is all that Cholesky reads and saves a third of it."""
    dim = tall.shape[1]
    gram = tall.new_zeros(dim, dim)
    for start in range(0, dim, _GRAM_BLOCK):
        stop = min(start + _GRAM_BLOCK, dim)
        gram[start:, start:stop].addmm_(tall[:, start:].T, tall[:, start:stop], beta=0)
    return gram


def _copy_lower_to_upper(square: Tensor) -> Tensor:
    lower = torch.ones_like(square, dtype=torch.bool).tril_()
    return torch.where(lower, square, square.T)


def _solve(lower: Tensor, rows: Tensor) -> Tensor:
    """Rows times the inverse of ``lower``; transposed, as LAPACK's columns are our rows."""
    if len(rows) > len(lower):
        return rows @ _inverse(lower)
    return torch.linalg.solve_triangular(lower.T, rows.T, upper=True).T


def _solve_transposed(lower: Tensor, rows: Tensor) -> Tensor:
    """Rows times the inverse of ``lower`` transposed."""
    if len(rows) > len(lower):
        return rows @ _inverse(lower).T
    return torch.linalg.solve_triangular(lower, rows.T, upper=False).T


def _inverse(lower: Tensor) -> Tensor:
    """The inverse, by which products with many rows take less time than solves."""
    unit = torch.eye(len(lower), dtype=lower.dtype, device=lower.device)
    return torch.linalg.solve_triangular(lower, unit, upper=False)


@contextmanager
def _full_precision(device: torch.device) -> Iterator[None]:
    """Switch off autocast, TF32 and bf16 products, none of which keeps Q orthonormal."""
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
