"""Reading and writing of run folders: resumable state, weights and metrics, never half-written."""

import json
import logging
import os
import shutil
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml
from accelerate import Accelerator
from safetensors.torch import save_file
from torch import Tensor

from vkd.config import TrainingConfig, write_recipe
from vkd.errors import FieldError, UserError

_log = logging.getLogger("vkd")
_PROGRESS = "progress.json"
# These change how fast a run goes, or where, but not what it computes.
_FREE_ON_RESUME = {"device", "workers", "trackers", "log_every", "checkpoint_every", "compile"}
# Where something lies; what it is must not change, see ``check_sources``.
_PLACES = {
    "data_path", "image_folder", "teacher_checkpoint", "teacher_store", "extractor_checkpoint",
}  # fmt: skip
_SOURCES = "sources.json"


@dataclass
class Progress:
    """How far a run has come.

    Attributes:
        epoch: finished epochs.
        updates: steps of the optimiser.
        rollbacks: times that the run went back to a checkpoint.
        diverted: whether it went back to this one, and so continues with other random numbers.
        task: what the task remembers of the run, see ``Task.progress``.
    """

    epoch: int = 0
    updates: int = 0
    rollbacks: int = 0
    diverted: bool = False
    task: dict[str, float] = field(default_factory=dict)


def open_run_folder(folder: Path, config: TrainingConfig, resume: bool) -> None:
    """Make a run folder with its recipe, or check that the run in it can be resumed.

    Raises:
        UserError: if the folder holds a run or other files and ``resume`` is False, or resuming
            would change what the run computes.
    """
    recipe = folder / "recipe.yaml"
    if not recipe.is_file():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise FieldError("output", f"{folder} exists and is not a run; name a new folder.")
        folder.mkdir(parents=True, exist_ok=True)
        write_recipe(config, recipe)
        return
    if not resume:
        raise FieldError(
            "output", f"{folder} already holds a run; resume it (--resume) or name a new folder."
        )
    difference = recipe_difference(yaml.safe_load(recipe.read_text()), config, _PLACES)
    if difference:
        name, before, now = difference
        raise FieldError(
            name,
            f"is {now!r} but the run in {folder} has {before!r}; a resumed run cannot change it.",
        )


def check_sources(folder: Path, sources: dict[str, str], resume: bool) -> None:
    """Keep the digests of what a run is made of, or compare them with those of the run resumed.

    Args:
        folder: the run folder.
        sources: digests by the field that says where each lies, see ``Task.sources``.
        resume: whether a run goes on; one of an earlier version has no digests to compare with.

    Raises:
        FieldError: if the run was made of something else.
    """
    file = folder / _SOURCES
    if resume and not file.is_file() and _states(folder):
        _log.warning(
            "The run in %s is of an earlier version and does not say what it was made of, so its "
            "data and teacher are not compared.",
            folder,
        )
    if not (resume and file.is_file()):
        write_json(file, sources)
        return
    known = json.loads(file.read_text())
    for name, digest in sources.items():
        if known.get(name, digest) != digest:
            raise FieldError(
                name,
                f"holds something else than when the run in {folder} began; a resumed run cannot "
                "change it.",
            )


def recipe_difference(
    saved: dict[str, Any], config: TrainingConfig, free: frozenset[str] | set[str] = frozenset()
) -> tuple[str, Any, Any] | None:
    """Return the first field by which a saved recipe computes something else than ``config``.

    Args:
        saved: the recipe's fields.
        config: to compare with.
        free: further fields that may differ.

    Returns:
        Its name, its saved value and that of ``config``; None where the two compute the same.
    """
    upgraded, _ = type(config).upgraded(saved)
    before, now = asdict(type(config)(**upgraded)), asdict(config)
    free = _FREE_ON_RESUME | free
    differing = (name for name in now if name not in free and before[name] != now[name])
    return next(((name, before[name], now[name]) for name in differing), None)


def save_state(accelerator: Accelerator, folder: Path, progress: Progress) -> None:
    """Save all that resuming needs; the state before stays until the new one is whole."""
    name = f"epoch-{progress.epoch:05d}"
    partial = folder / "checkpoints" / f"{name}.partial"
    if accelerator.is_main_process:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(partial))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        write_json(partial / _PROGRESS, asdict(progress))
        shutil.rmtree(partial.with_name(name), ignore_errors=True)
        partial.rename(partial.with_name(name))
        for older in _states(folder)[:-1]:
            shutil.rmtree(older)
    accelerator.wait_for_everyone()


def rewrite_progress(folder: Path, progress: Progress) -> None:
    """Keep, beside the newest state, how far a run has come that went back to it."""
    write_json(_states(folder)[-1] / _PROGRESS, asdict(progress))


def write_json(file: Path, content: Any) -> None:
    """Write JSON in one step."""
    write_whole(file, json.dumps(content, indent=2) + "\n")


def write_whole(file: Path, text: str) -> None:
    """Write a file in one step, so that a reader never meets half of it."""
    partial = file.with_suffix(".partial")
    partial.write_text(text)
    os.replace(partial, file)


def finished_epochs(folder: Path) -> int | None:
    """Return how many epochs the newest state of a run folder has; None where there is none."""
    states = _states(folder)
    count = states[-1].name.removeprefix("epoch-") if states else ""
    return int(count) if count.isdecimal() else None


def load_state(accelerator: Accelerator, folder: Path) -> Progress:
    """Load the newest state of a run folder; a folder without one starts at the beginning."""
    states = _states(folder)
    if not states:
        return Progress()
    accelerator.load_state(str(states[-1]))
    saved = json.loads((states[-1] / _PROGRESS).read_text())
    # States of earlier versions lack what is counted since.
    known = {item.name for item in fields(Progress)}
    return Progress(**{name: value for name, value in saved.items() if name in known})


def _states(folder: Path) -> list[Path]:
    return sorted(
        path for path in (folder / "checkpoints").glob("epoch-*") if path.suffix != ".partial"
    )


def save_tensors(tensors: dict[str, Tensor], file: Path, metadata: dict[str, str]) -> None:
    """Write safetensors in one step, so that a reader never meets half a file."""
    partial = file.with_suffix(".partial")
    # Cloned, as heads that are shared would share storage, which safetensors refuses.
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    save_file(tensors, partial, metadata)
    os.replace(partial, file)


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Return the epochs of a run's ``metrics.jsonl``, oldest first.

    Raises:
        UserError: if the folder holds no run.
    """
    file = folder / "metrics.jsonl"
    if not file.is_file():
        raise UserError(f"{folder} is not a run folder: it has no metrics.jsonl.")
    return read_records(file)


def read_records(file: Path) -> list[dict[str, Any]]:
    """Return the records of a file with one JSON object a line; half a last line is left out."""
    return [json.loads(line) for line in file.read_text().splitlines() if line.endswith("}")]
