"""Computing with operations that give the same bits each time."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch

from vkd.errors import FieldError

_WORKSPACE, _WORKSPACE_SIZE = "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
# How torch begins what it says of an operation that has no deterministic form.
_UNKNOWN = re.compile(r"([^:\n]+?) does not have a deterministic implementation")
_CUBLAS = "CuBLAS"


class _Settings(NamedTuple):
    """What decides whether torch computes the same bits each time."""

    deterministic: bool
    cudnn_deterministic: bool
    cudnn_benchmark: bool
    matmul_tf32: bool
    cudnn_tf32: bool

    @classmethod
    def now(cls) -> "_Settings":
        return cls(
            torch.are_deterministic_algorithms_enabled(),
            torch.backends.cudnn.deterministic,
            torch.backends.cudnn.benchmark,
            torch.backends.cuda.matmul.allow_tf32,
            torch.backends.cudnn.allow_tf32,
        )

    def apply(self) -> None:
        torch.use_deterministic_algorithms(self.deterministic)
        torch.backends.cudnn.deterministic = self.cudnn_deterministic
        torch.backends.cudnn.benchmark = self.cudnn_benchmark
        torch.backends.cuda.matmul.allow_tf32 = self.matmul_tf32
        torch.backends.cudnn.allow_tf32 = self.cudnn_tf32


# As they were before a run asked for the same bits, in this process.
_before: list[_Settings] = []


def settle_determinism(is_on: bool) -> None:
    """Let torch compute the same bits each time, or as it did before, from here on.

    Without TF32, which rounds more, and without cuDNN's trials, which choose by time. cuBLAS reads
    the size of its workspace from the environment when it is first used.

    Args:
        is_on: whether to.
    """
    if is_on and not _before:
        _before.append(_Settings.now())
        os.environ.setdefault(_WORKSPACE, _WORKSPACE_SIZE)
        _Settings(True, True, False, False, False).apply()
    elif not is_on and _before:
        _before.pop().apply()


@contextmanager
def naming_operations() -> Iterator[None]:
    """Name, in a sentence, an operation that cannot give the same bits each time.

    Raises:
        FieldError: for such an operation, which torch refuses to run.
    """
    try:
        yield
    # A model that is tried before training fails in the words of an argument.
    except (RuntimeError, FieldError) as error:
        unknown = _UNKNOWN.search(str(error))
        if unknown is not None:
            operation = unknown[1].strip()[:80]
            raise FieldError(
                "deterministic",
                f": the operation {operation} has no form that gives the same bits each time on "
                "this device; leave it out, use another device, or a network without it.",
            ) from error
        if _CUBLAS in str(error) and _WORKSPACE in str(error):
            raise FieldError(
                "deterministic",
                f"needs {_WORKSPACE}={_WORKSPACE_SIZE} (or :16:8) in the environment before CUDA "
                f"is first used; it is {os.environ.get(_WORKSPACE, 'not set')!r}.",
            ) from error
        raise
