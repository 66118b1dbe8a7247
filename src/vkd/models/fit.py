"""Sentences about weights that do not fit a network, or that no network can have."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from vkd.errors import UserError, shortened
from vkd.models.adapter import State

_LONGEST = 300
_MOST_LISTED = 3
# Bytes that an expanded tensor, which repeats the few numbers that a file holds, may have.
_MOST_REPEATED = 2**30


def check_fit(model: nn.Module, state: State, file: Path, says: str = "") -> None:
    """Raise ``UserError`` unless weights have the names, shapes and kinds of a network's.

    Args:
        model: the network.
        state: weights by name.
        file: where they are from.
        says: what the file says that they are of.
    """
    expected = model.state_dict()
    both = [key for key in expected if key in state]
    shapes = {key: (tuple(state[key].shape), tuple(expected[key].shape)) for key in both}
    differences = {
        "missing": [key for key in expected if key not in state],
        "unexpected": [key for key in state if key not in expected],
        "of another shape": [
            f"{key} {found} for {right}" for key, (found, right) in shapes.items() if found != right
        ],
        "of another type": [
            f"{key} {state[key].dtype}" for key in both
            if expected[key].is_floating_point() and not state[key].is_floating_point()
        ],
    }  # fmt: skip
    if not any(differences.values()):
        return
    said = f", its file names {shortened(says, 40)}" if says else ""
    start = f"{shortened(file, 120)} does not fit {type(model).__name__}{said}; "
    sentences = (start + _listed(differences, most) for most in range(_MOST_LISTED, -1, -1))
    raise UserError(next((text for text in sentences if len(text) <= _LONGEST), start[:-2] + "."))


def _listed(differences: Mapping[str, Sequence[str]], most: int) -> str:
    parts = []
    for kind, keys in differences.items():
        shown = [shortened(key, 70) for key in keys[:most]]
        rest = len(keys) - len(shown)
        if rest:
            shown.append(f"{rest:,} more" if shown else f"{rest:,} tensors")
        if shown:
            parts.append(f"{kind}: {', '.join(shown)}")
    return "; ".join(parts) + "."


def check_tensors(stored: State, file: Path) -> None:
    """Raise ``UserError`` for a tensor that is no dense block of real numbers held by the file."""
    for name, value in stored.items():
        if odd := _oddity(value):
            raise UserError(
                f"{shortened(file, 120)}: {shortened(name, 60)} is {odd}; expected a dense tensor "
                "of real numbers."
            )


def _oddity(value: Tensor) -> str:
    if value.is_meta:
        return "a meta tensor, which has a shape and no numbers"
    if value.is_quantized:
        return "quantised"
    if value.is_nested or value.layout != torch.strided:
        return "sparse or nested"
    if value.is_complex():
        return "of complex numbers"
    size = value.numel() * value.element_size()
    if size > max(value.untyped_storage().nbytes(), _MOST_REPEATED):
        return f"expanded to {tuple(value.shape)} from fewer numbers"
    return ""


def check_dimensions(state: State, dimensions: Mapping[str, int]) -> None:
    """Raise ``UserError`` for tensors that have another number of dimensions, or are empty.

    Args:
        state: weights by name.
        dimensions: of some of them, where these are there.
    """
    for name, count in dimensions.items():
        if name in state and (state[name].ndim != count or not state[name].numel()):
            raise UserError(
                f"{name} has the shape {tuple(state[name].shape)}; expected {count} dimensions "
                "above 0."
            )
