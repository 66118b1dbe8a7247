"""Files that PyTorch pickled, read without running code."""

import argparse
import pickle
import re
import warnings
from collections.abc import Mapping
from functools import reduce
from pathlib import Path, PosixPath
from typing import Any

import torch
from torch import Tensor

from vkd.errors import UserError, shortened
from vkd.models.adapter import State
from vkd.models.arrays import STAND_INS, Array
from vkd.models.wrappers import USUAL, flattened, home_of

# What checkpoints hold beside tensors: flags and paths. None of these can run code when it is
# unpickled.
_HARMLESS: list[Any] = [
    argparse.Namespace,
    PosixPath,
    (PosixPath, "pathlib._local.PosixPath"),
    *STAND_INS,
]


def read_pickled(file: Path) -> tuple[State, str, dict[str, Any]]:
    """Return all tensors of a file by dotted names, the prefix of those that are meant, and
    what lies beside them, by name.

    Raises:
        UserError: if it holds no weights by name, or is none of PyTorch's files, or would run code.
    """
    saved = _unpickled(file)
    found, home = dict(flattened(saved)), home_of(saved)
    if not found:
        raise UserError(
            f"{shortened(file, 100)} holds no weights: expected tensors by name, alone or under "
            f"{', '.join(USUAL)} or the like; found {_described(saved)}."
        )
    weights = reduce(lambda holder, step: holder[step], home.split(".")[:-1], saved)
    for name, value in weights.items():
        if isinstance(value, Array) and value.tensor() is None:
            raise UserError(
                f"{shortened(file, 120)}: {shortened(f'{home}{name}', 60)} is an array of "
                "something else than plain numbers."
            )
    meant = home.split(".")[0]
    beside = {k: v for k, v in saved.items() if k != meant and not isinstance(v, Tensor)}
    state = {name: value for name, value in found.items() if isinstance(value, Tensor)}
    return state, home, beside


def _described(saved: Any) -> str:
    if not isinstance(saved, Mapping):
        return f"one {type(saved).__name__}"
    return shortened(", ".join(map(str, saved)) or "nothing", 60)


def _unpickled(file: Path) -> Any:
    """What a file of ``torch.save`` holds; NumPy's arrays as ``Array``."""
    try:
        with torch.serialization.safe_globals(_HARMLESS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the versions of pickles
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        if named:
            raise UserError(
                f"{file} is refused: its pickle needs {named[1][:80]}, "
                "where a checkpoint holds tensors and plain values only."
            ) from None
        raise UserError(f"{file} is not a checkpoint of PyTorch or safetensors.") from None
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}.") from None
    # What a damaged file makes of the reader's code is of no fixed kind.
    except Exception:
        raise UserError(f"{file} is not a checkpoint of PyTorch or safetensors.") from None
