"""Weights files: reading them safely, fitting them to models, converting them."""

import math
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vkd.errors import UserError
from vkd.models.release import read_release, split_projector
from vkd.models.vidt.checkpoint import is_vidt, name_of, options_of, split_vidt

_WIDE = ("pos_embed", "cls_token", "norm.weight")
_DEIT_WIDTHS = {192: "deit_ti_distilled", 384: "deit_s_distilled", 768: "deit_b_distilled"}


def load_checkpoint(model: nn.Module, path: str | Path) -> nn.Module:
    """Load weights into ``model`` and return it.

    Args:
        model: the network.
        path: safetensors, a ``.pth`` of the paper's release or of PyTorch, or a run folder. A
            projector in it is left out; ``read_projection`` fetches it.

    Raises:
        UserError: if the file is absent, is not a checkpoint, would run code, or its keys or
            shapes differ from the model's; the message lists them.
    """
    file = checkpoint_file(path)
    state, _ = split_projections(read_weights(file))
    check_fit(model, state, file)
    model.load_state_dict(state)
    return model


def read_projection(path: str | Path) -> Tensor:
    """Return the orthonormal matrix (teacher_dim, student_dim) in a release's checkpoint.

    Raises:
        UserError: if the file holds no projector.
    """
    file = checkpoint_file(path)
    projections = split_projections(read_weights(file))[1]
    if "weight" not in projections:
        raise UserError(f"{file} holds no projector.")
    return projections["weight"]


def split_projections(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Split weights into the model's and those of a release's projections, by their names."""
    return split_vidt(state) if is_vidt(state) else split_projector(state)


def read_weights(file: Path) -> dict[str, Tensor]:
    """Return all tensors of a weights file by our names."""
    try:
        return load_file(file)
    except SafetensorError as error:
        if file.suffix == ".safetensors":
            raise UserError(f"{file} is not a safetensors file: {error}.") from None
    return read_release(file)


def check_fit(model: nn.Module, state: dict[str, Tensor], file: Path) -> None:
    """Raise ``UserError`` with every key that is missing, unexpected or of another shape."""
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


def checkpoint_file(path: str | Path) -> Path:
    """Return the weights file that a file or run folder names."""
    file = Path(path)
    file = file / "model.safetensors" if file.is_dir() else file
    if not file.is_file():
        raise UserError(f"There is no checkpoint at {file}.")
    return file


def read_metadata(path: str | Path) -> dict[str, str]:
    """Return what a safetensors file says of itself: its ``recipe`` as JSON, among others."""
    file = checkpoint_file(path)
    try:
        with safe_open(file, framework="pt") as opened:
            return opened.metadata() or {}
    except SafetensorError as error:
        if file.suffix != ".safetensors":
            return {}
        raise UserError(f"{file} is not a safetensors file: {error}.") from None


def architecture_of(state: dict[str, Tensor]) -> tuple[str, dict[str, Any]]:
    """Return the name of the paper's model that ``state`` is of, and its keyword arguments.

    The name is empty where the weights are of none of them.
    """
    if is_vidt(state):
        return name_of(state), options_of(state)
    width = next((state[key].shape[-1] for key in _WIDE if key in state), 0)
    has_stem = any(key.startswith("patch_embed.conv.") for key in state)
    if not has_stem or width not in _DEIT_WIDTHS:
        return "", {}
    shape = {}
    if "head.weight" in state:
        shape["num_classes"] = len(state["head.weight"])
    if "pos_embed" in state:
        shape["img_size"] = 16 * math.isqrt(state["pos_embed"].shape[1] - 2)
    return _DEIT_WIDTHS[width], shape


def write_converted(
    state: dict[str, Tensor], projections: dict[str, Tensor], target: Path, metadata: dict[str, str]
) -> list[Path]:
    """Write weights, and projections beside them, as safetensors; return the files.

    Raises:
        UserError: if a file is there already.
    """
    beside = target.with_name(f"{target.stem}-projection.safetensors")
    parts = [(target, state)]
    if projections:
        parts.append((beside, projections))
    for file, _ in parts:
        if file.exists():
            raise UserError(f"{file} exists already; name a new file.")
    for file, tensors in parts:
        file.parent.mkdir(parents=True, exist_ok=True)
        # A slice shares its storage with the whole; safetensors stores each tensor by itself.
        save_file({k: v.detach().contiguous().clone() for k, v in tensors.items()}, file, metadata)
    return [file for file, _ in parts]
