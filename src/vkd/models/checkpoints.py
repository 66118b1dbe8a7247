"""Weights files: read once and safely, fitted to models, written."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from vkd.errors import UserError
from vkd.models import biggan, deit
from vkd.models.adapter import Adapter, State
from vkd.models.metadata import check_metadata
from vkd.models.release import read_release
from vkd.models.vidt import checkpoint as vidt

ADAPTERS: tuple[Adapter, ...] = (vidt.ADAPTER, biggan.ADAPTER, deit.ADAPTER)
# Weights of any other model; a projector beside them has the paper's name.
_OTHER = Adapter(
    recognises=lambda state: True,
    architecture=lambda state: ("", {}),
    split=deit.split_projector,
)


@dataclass(frozen=True)
class Checkpoint:
    """A weights file, read.

    Attributes:
        file: where it was.
        state: the model's weights by our names.
        projections: those of a release's projections.
        metadata: of a safetensors file: its ``recipe`` as JSON, among others.
        architecture: the name of the model that the weights are of; empty for none of ours.
        options: the keyword arguments with which it fits them.
    """

    file: Path
    state: State
    projections: State = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    architecture: str = ""
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def recipe(self) -> dict[str, Any]:
        """Fields of the recipe that the weights belong to; empty where the file does not say."""
        return json.loads(self.metadata.get("recipe", "{}"))

    @property
    def classes(self) -> list[str]:
        """Names of the classes; empty where the file does not say."""
        return json.loads(self.metadata.get("classes", "[]"))

    @property
    def inputs(self) -> dict[str, Any]:
        """How images are prepared (mean, std, shape, ...); empty where the file does not say."""
        return json.loads(self.metadata.get("inputs", "{}"))


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a weights file.

    Args:
        path: safetensors, a ``.pth`` of the paper's release or of PyTorch, or a run folder.

    Raises:
        UserError: if the file is absent, is not a checkpoint, would run code, or says of itself
            what has no meaning.
    """
    file = checkpoint_file(path)
    state, metadata = _read(file)
    check_metadata(metadata, file)
    adapter = next((known for known in ADAPTERS if known.recognises(state)), _OTHER)
    architecture, options = adapter.architecture(state)
    weights, projections = adapter.split(state)
    return Checkpoint(file, weights, projections, metadata, architecture, options)


def load_checkpoint(model: nn.Module, path: str | Path | Checkpoint) -> nn.Module:
    """Load weights into ``model`` and return it.

    Args:
        model: the network.
        path: safetensors, a ``.pth`` of the paper's release or of PyTorch, a run folder, or a
            checkpoint that was read. A projector in it is left out; ``read_projection`` gets it.

    Raises:
        UserError: if the file is absent, is not a checkpoint, would run code, or its keys or
            shapes differ from the model's; the message lists them.
    """
    checkpoint = as_checkpoint(path)
    check_fit(model, checkpoint.state, checkpoint.file)
    model.load_state_dict(checkpoint.state)
    return model


def as_checkpoint(path: str | Path | Checkpoint) -> Checkpoint:
    """Return a checkpoint that was read already, or read it."""
    return path if isinstance(path, Checkpoint) else read_checkpoint(path)


def read_projection(path: str | Path) -> Tensor:
    """Return the orthonormal matrix (teacher_dim, student_dim) in a release's checkpoint.

    Raises:
        UserError: if the file holds no projector.
    """
    checkpoint = read_checkpoint(path)
    if "weight" not in checkpoint.projections:
        raise UserError(f"{checkpoint.file} holds no projector.")
    return checkpoint.projections["weight"]


def _read(file: Path) -> tuple[State, dict[str, str]]:
    """All tensors of a weights file by our names, and its metadata."""
    try:
        with safe_open(file, framework="pt") as opened:
            state = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            return state, opened.metadata() or {}
    except SafetensorError as error:
        if file.suffix == ".safetensors":
            raise UserError(f"{file} is not a safetensors file: {error}.") from None
    return read_release(file), {}


def check_fit(model: nn.Module, state: State, file: Path) -> None:
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


def write_converted(checkpoint: Checkpoint, target: Path, metadata: dict[str, str]) -> list[Path]:
    """Write weights, and projections beside them, as safetensors; return the files.

    Raises:
        UserError: if a file is there already.
    """
    beside = target.with_name(f"{target.stem}-projection.safetensors")
    parts = [(target, checkpoint.state)]
    if checkpoint.projections:
        parts.append((beside, checkpoint.projections))
    for file, _ in parts:
        if file.exists():
            raise UserError(f"{file} exists already; name a new file.")
    for file, tensors in parts:
        file.parent.mkdir(parents=True, exist_ok=True)
        # A slice shares its storage with the whole; safetensors stores each tensor by itself.
        save_file({k: v.detach().contiguous().clone() for k, v in tensors.items()}, file, metadata)
    return [file for file, _ in parts]
