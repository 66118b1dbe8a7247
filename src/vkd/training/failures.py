"""Steps whose numbers were not finite, kept in the run folder to be taken again."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils._pytree import keystr, tree_flatten_with_path, tree_map_with_path

from vkd.errors import RunError, UserError, shortened
from vkd.files import read_json, whole_folder, write_json
from vkd.tensor_files import save_tensors
from vkd.training.nested import load_nested, save_nested
from vkd.versions import versions

FOLDER = "failures"
_RECORD, _BATCH, _RANDOM, _WEIGHTS = (
    "failure.json", "batch.safetensors", "random.safetensors", "weights.safetensors",
)  # fmt: skip
_SHOWN, _NAME = 2, 40


class StepError(RunError):
    """A training step whose loss or gradient is no finite number, as a part of a sentence."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A training step that has failed, on one process.

    Attributes:
        what: the term, or the layer whose gradient, and its value; the start of a sentence.
        epoch: of the run, from 1.
        update: of the run, from 1.
        step: place among ``Task.steps`` of the module that was trained.
        process: whose step it was.
        processes: how many there were.
        has_term: whether a loss term is no finite number, and not the gradient alone.
        terms: the weighted loss terms by name, as text, as JSON has no nan.
        gradient_norm: likewise; empty where none was computed.
        loss_scale: of fp16, likewise.
        samples: of the batch, by number; see ``Task.sample_ids``.
        pictures: their names; of data without files their numbers.
        is_kept: whether batch and random numbers are kept beside this record.
        has_weights: whether the weights before the step are.
        device: where the step ran.
        versions: of what it ran with.
    """

    what: str
    epoch: int
    update: int
    step: int = 0
    process: int = 0
    processes: int = 1
    has_term: bool = True
    terms: dict[str, str] = field(default_factory=dict)
    gradient_norm: str = ""
    loss_scale: str = ""
    samples: list[int] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    is_kept: bool = False
    has_weights: bool = False
    device: str = ""
    versions: dict[str, str] = field(default_factory=versions)

    @property
    def name(self) -> str:
        """The folder that it is kept in."""
        name = f"update-{self.update:08d}"
        return name if self.processes == 1 else f"{name}-process-{self.process}"

    def sentence(self, run: Path) -> str:
        """Return what failed, when, with which pictures, and what takes the step again."""
        where = f" on process {self.process}" if self.processes > 1 else ""
        known = f"{pictures_of(self.pictures)}; " if self.pictures else ""
        run_name = shortened(run, 60)
        hint = f"`vkd replay {run_name}` {'takes' if self.is_kept else 'finds'} the step"
        return f"{self.what} at update {self.update}{where} ({known}{hint})"


@dataclass(frozen=True)
class Kept:
    """A failure as it lies in its folder.

    Attributes:
        folder: of the failure.
        failure: its record.
    """

    folder: Path
    failure: Failure

    def batch(self, like: Any) -> Any:
        """Return the batch as the step got it, on the CPU.

        Args:
            like: another batch of the run, whose tensors are replaced.

        Raises:
            UserError: if the file is damaged, or of other data.
        """
        tensors = _tensors(self.folder / _BATCH)

        def replaced(path: Any, part: Any) -> Any:
            name = keystr(path)
            if isinstance(part, Tensor) and name not in tensors:
                raise UserError(f"{self.folder / _BATCH} has no {name}; it is of other data.")
            # Copied, as kernels add in an order that depends on where numbers lie in memory.
            return tensors.pop(name).clone() if isinstance(part, Tensor) else part

        batch = tree_map_with_path(replaced, like)
        if tensors:
            name = next(iter(tensors))
            raise UserError(f"{self.folder / _BATCH} has {name}, too; it is of other data.")
        return batch

    def random_states(self) -> dict[str, Any]:
        """Return the states of the random numbers before the step."""
        found = load_nested(self.folder / _RANDOM)
        return dict(found) if isinstance(found, Mapping) else {}

    def load_weights(self, module: nn.Module, step: int) -> None:
        """Give the module at a place of ``Task.steps`` its weights of before the failed step.

        Raises:
            UserError: if they are damaged, or of another network.
        """
        start = f"{step}."
        tensors = _tensors(self.folder / _WEIGHTS).items()
        own = {name.removeprefix(start): part for name, part in tensors if name.startswith(start)}
        try:
            module.load_state_dict(own)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:120]
            raise UserError(f"{self.folder / _WEIGHTS} is of another network: {reason}.") from None


def keep(
    run: Path,
    failure: Failure,
    batch: Any,
    random: Mapping[str, Any],
    weights: Sequence[Mapping[str, Tensor]],
) -> None:
    """Keep a failed step in a run folder, whole or not at all.

    Args:
        run: the run folder.
        failure: its record.
        batch: as the step got it: nested tensors.
        random: see ``vkd.training.state.random_states``.
        weights: before the step, of each of ``Task.steps``; empty where they are not at hand.
    """
    place = run / FOLDER
    place.mkdir(exist_ok=True)
    with whole_folder(place / failure.name) as partial:
        write_json(partial / _RECORD, asdict(failure))
        if failure.is_kept:
            parts, _ = tree_flatten_with_path(batch)
            tensors = {keystr(path): part for path, part in parts if isinstance(part, Tensor)}
            save_tensors(tensors, partial / _BATCH, {})
            save_nested(random, partial / _RANDOM)
        if failure.has_weights:
            named = {
                f"{step}.{name}": tensor
                for step, state in enumerate(weights)
                for name, tensor in state.items()
            }
            save_tensors(named, partial / _WEIGHTS, {})


def kept_failures(run: Path) -> list[Kept]:
    """Return the failures of a run folder, by update and process.

    Raises:
        UserError: if a record is damaged.
    """
    folders = sorted((run / FOLDER).glob("update-*"))
    return [
        Kept(folder, _read(folder / _RECORD)) for folder in folders if folder.suffix != ".partial"
    ]


def _read(file: Path) -> Failure:
    record = read_json(file)
    defaults = asdict(Failure(what="", epoch=0, update=0))
    for name, default in defaults.items():
        if type(record.get(name, default)) is not type(default):
            raise UserError(f"{file} is damaged: {name} must be a {type(default).__name__}.")
    known = {item.name: record[item.name] for item in fields(Failure) if item.name in record}
    if not {"what", "epoch", "update"} <= known.keys():
        raise UserError(f"{file} is damaged: it does not say what failed, and when.")
    return Failure(**known)


def pictures_of(names: Sequence[str]) -> str:
    """Return the first names of a batch's pictures, and how many more there are."""
    shown = ", ".join(shortened(name, _NAME) for name in names[:_SHOWN])
    more = len(names) - _SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def _tensors(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except Exception as error:  # safetensors has errors of its own for each fault
        raise UserError(f"{file} cannot be read: {' '.join(str(error).split())[:80]}.") from None


def text_of(value: Tensor) -> str:
    """Return a number as text that gives it back, nan and inf too."""
    return repr(float(value.detach()))


def is_finite(text: str) -> bool:
    """Return whether the number of a text is finite."""
    return bool(torch.tensor(float(text)).isfinite())
