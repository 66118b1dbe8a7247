"""The projections that the paper's release trained, of torch's parametrisation."""

import torch
from torch import Tensor

from vkd.errors import UserError


def orthogonal_weight(original: Tensor, base: Tensor | None) -> Tensor:
    """Return the matrix that torch's ``parametrizations.orthogonal`` stands for, in float32.

    torch takes the matrix exponential for square weights and Householder's reflectors otherwise.

    Args:
        original: (T, S), T at least S.
        base: (T, T).

    Raises:
        UserError: if there is no base, or the two have other shapes.
    """
    if base is None:
        raise UserError("a projector has its original and not its base; expected both.")
    shapes = tuple(original.shape), tuple(base.shape)
    is_tall = original.ndim == 2 and original.shape[0] >= original.shape[1] > 0
    if not is_tall or shapes[1] != (len(original), len(original)):
        raise UserError(
            f"a projector has an original {shapes[0]} and a base {shapes[1]}; expected (T, S) and "
            "(T, T) with T at least S."
        )
    if original.shape[0] != original.shape[1]:
        return householder_weight(original, base)
    lower = original.double().tril()
    return (base.double() @ torch.linalg.matrix_exp(lower - lower.T)).float()


def householder_weight(original: Tensor, base: Tensor) -> Tensor:
    """Return the matrix that torch's Householder parametrisation stands for, in float32.

    ``original`` (T, S) holds reflectors below its diagonal and signs on it; ``base`` (T, T) is
    the rotation in front. torch casts that diagonal to integers, so that weight decay, moving it
    from -1, turns its columns to zero; the sign is what was meant.
    """
    original, base = original.double(), base.double()
    reflectors = original.tril(-1)
    scales = 2 / (1 + reflectors.square().sum(0))
    sign = torch.where(original.diagonal() < 0, -1.0, 1.0).double()
    return (base @ (torch.linalg.householder_product(reflectors, scales) * sign)).float()
