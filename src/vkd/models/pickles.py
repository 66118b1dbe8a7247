"""Files that PyTorch pickled, read without running code."""

import argparse
import pickle
import re
import warnings
from pathlib import Path, PosixPath
from typing import Any

import torch

from vkd.errors import UserError
from vkd.models.arrays import STAND_INS

# What checkpoints hold beside tensors: flags and paths. None of these can run code when it is
# unpickled.
_HARMLESS: list[Any] = [
    argparse.Namespace,
    PosixPath,
    (PosixPath, "pathlib._local.PosixPath"),
    *STAND_INS,
]


def unpickled(file: Path) -> Any:
    """Return what a file of ``torch.save`` holds; NumPy's arrays as ``vkd.models.arrays.Array``.

    Raises:
        UserError: if it is none, or its pickle needs anything that is not a tensor or a plain
            value; nothing of it is run.
    """
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
