"""The checkpoint files of the paper's release, and others of PyTorch, read without running code."""

import argparse
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy._core.multiarray import scalar
from torch import Tensor

from vkd.errors import UserError

# What the release saves beside tensors: its flags, and losses as numpy numbers. None of these
# can run code when it is unpickled.
_HARMLESS: list[Any] = [
    argparse.Namespace,
    scalar,
    (scalar, "numpy.core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(name)) for name in ("float64", "float32", "int64", "int32", "bool")),
]
_WEIGHTS = ("student", "model", "state_dict", "model_state_dict")
_RENAMED = {"conv_embed.": "patch_embed."}


def read_release(file: Path) -> dict[str, Tensor]:
    """Return the weights in a ``.pth`` file by our names, a projector's among them.

    Takes the release's training files (``student`` or ``model`` beside optimiser and the like),
    DeiT's teacher files (``model``), and plain state dicts; the prefixes of DDP and torch.compile
    are dropped.

    Raises:
        UserError: if the file is not a checkpoint, or its pickle needs anything that is not a
            tensor or a plain value; nothing of it is run.
    """
    saved = _unpickle(file)
    for name in _WEIGHTS:
        if isinstance(saved, dict) and isinstance(saved.get(name), dict):
            saved = saved[name]
            break
    tensors = saved.items() if isinstance(saved, dict) else ()
    state = {_our_name(key): value for key, value in tensors if isinstance(value, Tensor)}
    if not state:
        raise UserError(f"{file} holds no weights; expected a state dict under one of {_WEIGHTS}.")
    return state


def _our_name(key: str) -> str:
    key = key.removeprefix("module.").removeprefix("_orig_mod.").removeprefix("module.")
    for theirs, ours in _RENAMED.items():
        if key.startswith(theirs):
            return ours + key.removeprefix(theirs)
    return key


def _unpickle(file: Path) -> Any:
    try:
        with torch.serialization.safe_globals(_HARMLESS):
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        if named:
            raise UserError(
                f"{file} is refused: its pickle needs {named[1]}, "
                "where a checkpoint holds tensors and plain values only."
            ) from None
        raise UserError(f"{file} is not a checkpoint of PyTorch or safetensors.") from None
    except (RuntimeError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError):
        raise UserError(f"{file} is not a checkpoint of PyTorch or safetensors.") from None


def orthogonal_weight(original: Tensor, base: Tensor) -> Tensor:
    """Return the matrix that torch's ``parametrizations.orthogonal`` stands for, in float32.

    torch takes the matrix exponential for square weights and Householder's reflectors otherwise.
    """
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
