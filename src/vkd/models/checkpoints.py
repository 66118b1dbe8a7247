"""Weights files: read once and safely, fitted to models, written."""

import json
from argparse import Namespace
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from vkd.errors import UserError, shortened
from vkd.models import biggan, deit
from vkd.models.adapter import Adapter, State
from vkd.models.fit import check_dimensions, check_fit, check_tensors
from vkd.models.metadata import check_metadata
from vkd.models.onnx_network import OnnxNetwork
from vkd.models.pickles import read_pickled
from vkd.models.targets import written_whole
from vkd.models.vidt import checkpoint as vidt
from vkd.models.wrappers import (
    below,
    fit_of,
    left_out,
    parallel_prefix,
    plain_name,
    prefix_of,
    unwrappings,
)
from vkd.notes import say
from vkd.tensor_files import write_tensors

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
        state: the weights by our names, as far as these are known without a network to fit.
        prefix: below which these are in ``stored``.
        stored: all tensors of the file by dotted names.
        projections: those of a release's projections.
        metadata: of a safetensors file: its ``recipe`` as JSON, among others.
        architecture: the name of the model that the weights are of; empty for none of ours.
        options: the keyword arguments with which it fits them.
        adapter: what knows the family.
        beside: what the file holds beside weights, by name.
        network: of an exported file, which runs as it is and has no weights to load.
    """

    file: Path
    state: State
    prefix: str = ""
    stored: State = field(default_factory=dict)
    projections: State = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    architecture: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    adapter: Adapter = _OTHER
    beside: Mapping[str, Any] = field(default_factory=dict)
    network: OnnxNetwork | None = None

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

    @property
    def model_name(self) -> str:
        """The name of the model as the file has it; empty where it does not say."""
        return self.metadata.get("architecture", "")

    @property
    def notes(self) -> list[str]:
        """What to say of the weights that lie beside ``state`` in the file."""
        return left_out(self.stored, self.prefix)

    def fitted(self, names: Mapping[str, Tensor]) -> "FittedWeights":
        """Return the weights of a network by its names, out of the wrappers around them.

        Where none come near it, those that are meant without a network to fit.

        Args:
            names: the network's own weights, as its ``state_dict``.
        """
        plain = {plain_name(key): key for key in names}
        outer = parallel_prefix(plain)
        own = {name.removeprefix(outer): key for name, key in plain.items()}
        expected = {name: names[key].shape for name, key in own.items()}
        state, prefix = self.state, self.prefix
        nearest = prefix_of(self.stored, expected)
        other = below(self.stored, nearest)
        fit = fit_of(other, expected)
        # Fewer than half of the names are those that any two networks share.
        if 2 * fit[1] >= len(expected) and fit > fit_of(state, expected):
            state, prefix = other, nearest
        state = {own.get(name, name): value for name, value in state.items()}
        return FittedWeights(state, left_out(self.stored, prefix))

    def named(self, names: Iterable[str]) -> State:
        """Return the weights among which most of some ``names`` are, out of their wrappers."""
        expected = dict.fromkeys(names, torch.Size())
        if fit_of(self.state, expected)[1] == len(expected):
            return self.state
        return below(self.stored, prefix_of(self.stored, expected))


class FittedWeights(NamedTuple):
    """A network's weights by its names, and ``notes`` on what lies beside them in the file."""

    state: State
    notes: list[str]


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a weights file.

    Args:
        path: safetensors, a ``.pth`` of the paper's release or of PyTorch, or a run folder.

    Raises:
        UserError: if the file is absent, is not a checkpoint, would run code, or says of itself
            what has no meaning.
    """
    file = checkpoint_file(path)
    if file.suffix in (".onnx", ".pt2"):
        raise UserError(
            f"{shortened(file, 120)} is an exported network, whose weights cannot be taken; "
            "expected a weights file or run folder."
        )
    stored, home, metadata, beside = _read(file)
    if not stored:
        raise UserError(f"{shortened(file, 120)} holds no weights.")
    check_metadata(metadata, file)
    check_tensors(stored, file)
    adapter, prefix = recognised(stored, home)
    view = below(stored, prefix)
    try:
        check_dimensions(view, adapter.dimensions)
        architecture, options = adapter.architecture(view)
        flags = beside.get("args")
        flags = vars(flags) if isinstance(flags, Namespace) else {}
        told = json.loads(metadata.get("options", "{}")) or adapter.told_by_flags(flags)
        state, projections = adapter.split(view)
    except UserError as error:
        raise UserError(f"{shortened(file, 120)}: {error}") from None
    return Checkpoint(
        file, state, prefix, stored, projections, metadata, architecture, told | options, adapter,
        beside,
    )  # fmt: skip


def read_exported_network(path: str | Path) -> Checkpoint:
    """Read an ``.onnx`` file as a checkpoint that holds its network.

    Raises:
        UserError: if the file is absent, is no ONNX, or says of itself what has no meaning.
    """
    file = checkpoint_file(path)
    network = OnnxNetwork(file)
    check_metadata(network.metadata, file)
    return Checkpoint(file, {}, metadata=network.metadata, network=network)


def recognised(stored: State, home: str) -> tuple[Adapter, str]:
    """Return whose weights a file holds, and the prefix below which they are.

    Args:
        stored: all tensors of a file by dotted names.
        home: the prefix of those that are meant.
    """
    for prefix in unwrappings(stored, home):
        view = below(stored, prefix)
        for adapter in ADAPTERS:
            if adapter.recognises(view):
                return adapter, prefix
    return _OTHER, home + parallel_prefix(below(stored, home))


def load_checkpoint(model: nn.Module, path: str | Path | Checkpoint) -> nn.Module:
    """Load weights into ``model`` and return it.

    Args:
        model: the network.
        path: safetensors, a ``.pth`` of the paper's release or of PyTorch, a run folder, or a
            checkpoint that was read. Weights are taken out of the dicts and wrappers around them,
            and what lies beside them is said. A projector in it is left out; ``read_projection``
            gets it.

    Raises:
        UserError: if the file is absent, is not a checkpoint, would run code, or its keys, shapes
            or types differ from the model's; the message names some.
    """
    checkpoint = as_checkpoint(path)
    if checkpoint.network is not None and model is checkpoint.network:
        return model
    found = checkpoint.fitted(model.state_dict())
    check_fit(model, found.state, checkpoint.file, checkpoint.model_name)
    model.load_state_dict(found.state)
    say(checkpoint.file, found.notes)
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


def _read(file: Path) -> tuple[State, str, dict[str, str], dict[str, Any]]:
    """All tensors of a weights file, the prefix of those that are meant, its metadata, and what it
    holds beside weights."""
    try:
        with safe_open(file, framework="pt") as opened:
            names = opened.keys()
            state = {plain_name(name): opened.get_tensor(name) for name in names}
            return state, "", opened.metadata() or {}, {}
    except SafetensorError as error:
        if file.suffix == ".safetensors":
            raise UserError(f"{file} is not a safetensors file: {error}.") from None
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror or error}.") from None
    state, home, beside = read_pickled(file)
    return state, home, {}, beside


def checkpoint_file(path: str | Path) -> Path:
    """Return the weights file that a file or run folder names."""
    file = Path(path)
    try:
        file = file / "model.safetensors" if file.is_dir() else file
        is_there = file.is_file()
    except OSError:  # of a name that is too long, for example
        is_there = False
    if not is_there:
        raise UserError(f"There is no checkpoint at {shortened(file, 200)}.")
    return file


def write_converted(checkpoint: Checkpoint, target: Path, metadata: dict[str, str]) -> list[Path]:
    """Write weights, and projections beside them, as safetensors; return the files.

    Raises:
        UserError: if a file is there already, or none can be made there.
        RunError: if they cannot be written whole; then there is none.
    """
    parts = {target: checkpoint.state}
    if checkpoint.projections:
        parts[target.with_name(f"{target.stem}-projection.safetensors")] = checkpoint.projections
    with written_whole(*parts) as files:
        for file, tensors in zip(files, parts.values(), strict=True):
            write_tensors(tensors, file, metadata)
    return list(parts)
