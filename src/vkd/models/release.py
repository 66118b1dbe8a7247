"""The checkpoint files of the paper's release, and others of PyTorch, read without running code."""

import argparse
import logging
import pickle
import re
from pathlib import Path, PosixPath
from typing import Any

import numpy as np
import torch
from numpy._core.multiarray import scalar
from torch import Tensor

from vkd.errors import UserError

_log = logging.getLogger("vkd")
# What the release saves beside tensors: its flags, and losses as numpy numbers. None of these
# can run code when it is unpickled.
_HARMLESS: list[Any] = [
    argparse.Namespace,
    scalar,
    (scalar, "numpy.core.multiarray.scalar"),
    np.dtype,
    PosixPath,
    (PosixPath, "pathlib._local.PosixPath"),
    *(type(np.dtype(name)) for name in ("float64", "float32", "int64", "int32", "bool")),
]
# Averaged weights come first exactly where timm's own loader prefers them.
_WEIGHTS = (
    "state_dict_ema", "model_ema", "student", "state_dict", "model", "model_state_dict",
)  # fmt: skip
# Wrappers, whose names precede every name of what they wrap: DataParallel and AveragedModel,
# torch.compile, Lightning modules and EMA wrappers.
_WRAPPERS = ("module", "_orig_mod", "model", "net", "network", "student", "ema_model", "ema")
_COUNTERS = {"n_averaged", "initted", "step"}  # that wrappers keep beside the weights
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
            if name.endswith("_ema"):
                _log.info("%s: the averaged weights, %s, are taken.", file, name)
            break
    tensors = saved.items() if isinstance(saved, dict) else ()
    named = {str(key): value for key, value in tensors if isinstance(value, Tensor)}
    state = {_our_name(key): value for key, value in unwrapped(named, file).items()}
    if not state:
        raise UserError(f"{file} holds no weights; expected a state dict under one of {_WEIGHTS}.")
    return state


def unwrapped(state: dict[str, Tensor], file: Path) -> dict[str, Tensor]:
    """Return weights without the prefixes of wrappers, and say what lay beside these.

    Args:
        state: weights by name.
        file: where they are from, for messages.
    """
    while True:
        state = {key: value for key, value in state.items() if key not in _COUNTERS}
        # A module that distils holds a teacher beside the student that is meant.
        parts = [first for key in state if (first := key.partition(".")[0]) != "teacher"]
        prefix = next((name for name in _WRAPPERS if parts.count(name) * 2 > len(parts)), "")
        if not prefix:
            return state
        beside = [key for key in state if not key.startswith(f"{prefix}.")]
        if beside:
            _log.info("%s: left out %d tensors beside %s, the first %s.",
                      file, len(beside), prefix, beside[0])  # fmt: skip
        state = {
            key.removeprefix(f"{prefix}."): value
            for key, value in state.items()
            if key.startswith(f"{prefix}.")
        }


def _our_name(key: str) -> str:
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
