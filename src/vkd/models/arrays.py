"""NumPy's numbers and arrays in a pickle, read without NumPy's own unpickling.

NumPy's classes restore whatever memory a file describes; what stands for them here takes plain
numbers alone.
"""

import re
from typing import Any

import numpy as np
import torch
from torch import Tensor

_PLAIN = re.compile(r"[biuf][1248]")


class Dtype:
    """Stands for ``numpy.dtype``: the name of a kind of numbers, and its byte order."""

    def __init__(self, name: Any = "", *rest: Any) -> None:
        self.name, self.order = name, "="

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) > 1:
            self.order = state[1]

    def plain(self) -> np.dtype | None:
        """Return NumPy's dtype; None if it is not one of plain numbers."""
        name, order = (
            part.decode("latin1") if isinstance(part, bytes) else part
            for part in (self.name, self.order)
        )
        if not isinstance(name, str) or not _PLAIN.fullmatch(name):
            return None
        return np.dtype((order if order in ("<", ">") else "=") + name)


class Array:
    """Stands for ``numpy.ndarray``: the shape, dtype and bytes that a pickle holds."""

    def __init__(self) -> None:
        self.state: Any = ()

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def tensor(self) -> Tensor | None:
        """Return the numbers as a tensor; None if they are no plain ones, as of objects."""
        try:
            _, shape, dtype, is_fortran, content = self.state
            plain = dtype.plain()
            if plain is None or not isinstance(content, bytes):
                return None
            values = np.frombuffer(content, plain).reshape(shape, order="F" if is_fortran else "C")
            return torch.from_numpy(values.astype(plain.newbyteorder("="), order="C"))
        except (AttributeError, OverflowError, TypeError, ValueError):
            return None


def _reconstruct(*description: Any) -> Array:
    return Array()


def _scalar(*description: Any) -> None:
    """A number beside the weights, such as a loss, which nothing needs."""


# By the names that NumPy 1 and 2 pickle them with.
STAND_INS: list[tuple[Any, str]] = [
    (Dtype, "numpy.dtype"),
    (Array, "numpy.ndarray"),
    *(
        (stand_in, f"numpy.{home}.multiarray.{name}")
        for home in ("core", "_core")
        for name, stand_in in {"_reconstruct": _reconstruct, "scalar": _scalar}.items()
    ),
]
