"""Checks of options and inputs that several methods share."""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from math import isfinite
from typing import TypeGuard

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


def check_at_least(argument: str, value: object, minimum: float) -> None:
    """Raise a UserError unless ``value`` is a finite number of at least ``minimum``."""
    if not (_is_number(value) and value >= minimum):
        raise UserError(f"{argument} must be a number of at least {minimum:g}, found {value!r}.")


def check_positive(argument: str, value: object) -> None:
    """Raise a UserError unless ``value`` is a finite number above 0."""
    if not (_is_number(value) and value > 0):
        raise UserError(f"{argument} must be a number above 0, found {value!r}.")


def check_count(argument: str, value: object) -> None:
    """Raise a UserError unless ``value`` is a whole number of at least 1."""
    if not (_is_number(value) and isinstance(value, int) and value >= 1):
        raise UserError(f"{argument} must be a whole number of at least 1, found {value!r}.")


def check_dims(student_dim: int, teacher_dim: int) -> None:
    """Raise a UserError unless both numbers of features are at least 1."""
    check_count("student_dim", student_dim)
    check_count("teacher_dim", teacher_dim)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def full_precision(tensor: Tensor) -> AbstractContextManager[None]:
    """Switch off autocast on the tensor's device: products of float32 stay float32."""
    return torch.autocast(tensor.device.type, enabled=False)
