"""States of optimisers and random numbers, as safetensors with JSON: nothing in them can run.

torch saves such states as pickles. Those can hold code, and no two are sure to be equal byte by
byte.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from vkd.errors import UserError
from vkd.tensor_files import save_tensors

_STATE = "state"


def save_nested(state: Any, file: Path) -> None:
    """Write nested dicts, lists and tuples of tensors and plain values to one file, whole.

    Args:
        state: keys are text, whole numbers or None; values that are no tensors are those of JSON,
            of which numbers keep every bit.
        file: to write.

    Raises:
        TypeError: for another kind of value.
    """
    tensors: dict[str, Tensor] = {}
    outline = _outlined(state, tensors)
    save_tensors(tensors, file, {_STATE: json.dumps(outline)})


def load_nested(file: Path) -> Any:
    """Return what ``save_nested`` wrote, with tensors on the CPU.

    Raises:
        UserError: if the file is not there or damaged.
    """
    try:
        with safe_open(file, "pt") as opened:
            outline = json.loads((opened.metadata() or {})[_STATE])
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        return _restored(outline, tensors)
    except (OSError, SafetensorError, ValueError, TypeError, KeyError, RecursionError) as error:
        reason = " ".join(str(error).split())[:80]
        raise UserError(f"{file} is no state of a run: {reason}.") from None


def _outlined(value: Any, tensors: dict[str, Tensor]) -> Any:
    """JSON in which a kind and its content stand for what JSON does not have."""
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, Mapping):
        for key in value:
            if key is not None and type(key) not in (str, int):
                raise TypeError(f"A key of a state is a {type(key).__name__}.")
        return {"dict": [[key, _outlined(part, tensors)] for key, part in value.items()]}
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [_outlined(part, tensors) for part in value]}
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise TypeError(f"A value of a state is a {type(value).__name__}.")


def _restored(outline: Any, tensors: dict[str, Tensor]) -> Any:
    if not isinstance(outline, dict):
        return outline
    ((kind, content),) = outline.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _restored(part, tensors) for key, part in content}
    parts = [_restored(part, tensors) for part in content]
    return {"list": list, "tuple": tuple}[kind](parts)
