"""What several methods ask of their options and inputs."""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from math import isfinite

import torch
from torch import Tensor

from vkd.errors import UserError, nearest


def check_choice(argument: str, value: object, known: Iterable[str]) -> None:
    """Raise a UserError if ``value`` is a string that is not ``known``; functions pass."""
    known = list(known)
    if isinstance(value, str) and value not in known:
        raise UserError(
            f"{argument} must be one of {', '.join(known)}, found {value!r}{nearest(value, known)}"
        )


def check_at_least(argument: str, value: float, minimum: float) -> None:
    """Raise a UserError unless ``value`` is finite and at least ``minimum``."""
    if not (isfinite(value) and value >= minimum):
        raise UserError(f"{argument} must be a number of at least {minimum:g}, found {value}.")


def check_positive(argument: str, value: float) -> None:
    """Raise a UserError unless ``value`` is finite and above 0."""
    if not (isfinite(value) and value > 0):
        raise UserError(f"{argument} must be a number above 0, found {value}.")


def check_dims(student_dim: int, teacher_dim: int) -> None:
    """Raise a UserError unless both numbers of features are at least 1."""
    check_at_least("student_dim", student_dim, 1)
    check_at_least("teacher_dim", teacher_dim, 1)


def full_precision(tensor: Tensor) -> AbstractContextManager[None]:
    """Switch off autocast on the tensor's device: products of float32 stay float32."""
    return torch.autocast(tensor.device.type, enabled=False)
