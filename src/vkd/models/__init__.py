"""Models by name (ours and timm's) and their checkpoints."""

from pathlib import Path
from typing import Any

import timm
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import nn

from vkd.errors import UserError, nearest
from vkd.models import small

OUR_MODELS = ("cnn_digits", "cnn_fashion", "conv_vit_digits", "conv_vit_fashion")
__all__ = ["OUR_MODELS", "create_model", "load_checkpoint", "read_metadata", "small"]


def create_model(name: str, checkpoint: str | Path | None = None, **kwargs: Any) -> nn.Module:
    """Build a model of `vkd models` or timm, with the weights of ``checkpoint`` if given.

    Args:
        name: the model's name.
        checkpoint: safetensors file or run folder; see ``load_checkpoint``.
        **kwargs: passed to the model, for example ``num_classes`` or ``pretrained`` (timm).

    Raises:
        UserError: for an unknown name or a checkpoint that does not fit.
    """
    if not timm.is_model(name):
        raise UserError(f"There is no model {name!r}{nearest(name, timm.list_models())}")
    model = timm.create_model(name, **kwargs)
    return load_checkpoint(model, checkpoint) if checkpoint else model


def load_checkpoint(model: nn.Module, path: str | Path) -> nn.Module:
    """Load the weights of a safetensors file, or of a run folder, into ``model`` and return it.

    Raises:
        UserError: if there is no such file, it is not safetensors, or its keys or shapes differ
            from the model's; the message lists them.
    """
    file = checkpoint_file(path)
    try:
        state = load_file(file)
    except SafetensorError as error:
        raise UserError(f"{file} is not a safetensors file: {error}.") from None
    expected = model.state_dict()
    differences = {
        "missing": [key for key in expected if key not in state],
        "unexpected": [key for key in state if key not in expected],
        "of another shape": [
            f"{key} {tuple(state[key].shape)} for {tuple(expected[key].shape)}"
            for key in state
            if key in expected and state[key].shape != expected[key].shape
        ],
    }
    found = [f"{kind}: {', '.join(keys)}" for kind, keys in differences.items() if keys]
    if found:
        raise UserError(f"{file} does not fit {type(model).__name__}; " + "; ".join(found) + ".")
    model.load_state_dict(state)
    return model


def checkpoint_file(path: str | Path) -> Path:
    """Return the weights file that a file or run folder names."""
    file = Path(path)
    file = file / "model.safetensors" if file.is_dir() else file
    if not file.is_file():
        raise UserError(f"There is no checkpoint at {file}.")
    return file


def read_metadata(path: str | Path) -> dict[str, str]:
    """Return what a checkpoint says of itself: its ``recipe`` as JSON, among others."""
    file = checkpoint_file(path)
    try:
        with safe_open(file, framework="pt") as opened:
            return opened.metadata() or {}
    except SafetensorError as error:
        raise UserError(f"{file} is not a safetensors file: {error}.") from None
