"""Reading and writing of run folders: resumable state, weights and metrics, never half-written."""

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import load
from accelerate.utils.constants import RNG_STATE_NAME
from safetensors.torch import save_file
from torch import Tensor

from vkd.config import TrainingConfig, write_recipe
from vkd.errors import FieldError, UserError
from vkd.files import read_text

_log = logging.getLogger("vkd")
_PROGRESS = "progress.json"
# These change how fast a run goes, or where, but not what it computes.
_FREE_ON_RESUME = {"device", "workers", "trackers", "log_every", "checkpoint_every", "compile"}
# Where something lies; what it is must not change, see ``check_sources``.
_PLACES = {
    "data_path", "image_folder", "teacher_checkpoint", "teacher_store", "extractor_checkpoint",
}  # fmt: skip
_SOURCES = "sources.json"
_RANDOM_STATES = {"random_state", "numpy_random_seed", "torch_manual_seed"}


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


def open_run_folder(
    folder: Path, config: TrainingConfig, resume: bool, read: Callable[[str], TrainingConfig]
) -> bool:
    """Make a run folder with its recipe, or check that the run in it can be resumed.

    Args:
        folder: the run folder.
        config: the recipe.
        resume: whether the run that is there goes on.
        read: returns the config of a recipe file, or raises ``UserError``.

    Returns:
        Whether the folder's recipe is new.

    Raises:
        UserError: if the folder holds a run or other files and ``resume`` is False, or resuming
            would change what the run computes.
    """
    recipe = folder / "recipe.yaml"
    if not recipe.is_file():
        _make_run_folder(folder)
        write_recipe(config, recipe)
        return True
    if not resume:
        raise FieldError(
            "output", f"{folder} already holds a run; resume it (--resume) or name a new folder."
        )
    saved = read(str(recipe))
    if saved.task != config.task:
        raise FieldError(
            "output",
            f"{folder} holds a run of the task {saved.task}, not {config.task}; name a new folder.",
        )
    difference = recipe_difference(saved, config, _PLACES)
    if difference:
        name, before, now = difference
        raise FieldError(
            name,
            f"is {now!r} but the run in {folder} has {before!r}; a resumed run cannot change it.",
        )
    return False


def _make_run_folder(folder: Path) -> None:
    if not is_text(str(folder)):
        raise FieldError("output", f"must be text in UTF-8, found {str(folder)!a}.")
    if folder.is_symlink() and not folder.exists():
        raise FieldError("output", f"{folder} is a link to a place that does not exist.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FieldError("output", f"{folder} exists and is not a run; name a new folder.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FieldError("output", f"{folder} cannot be made: {error.strerror}.") from None


def is_text(name: str) -> bool:
    """Return whether a path's name is text, which file systems do not require of it."""
    return name == name.encode(errors="replace").decode()


@contextmanager
def withdrawn_unless_built(folder: Path, is_new: bool) -> Iterator[None]:
    """Remove a new run folder that holds nothing but its recipe if what follows fails.

    The same command can then be given again, mended, without a word about a run that never began.
    """
    try:
        yield
    except BaseException:
        recipe = folder / "recipe.yaml"
        if is_new and list(folder.iterdir()) == [recipe]:
            recipe.unlink()
            folder.rmdir()
        raise


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
    known = read_json(file)
    for name, digest in sources.items():
        # Of what a run of an earlier version could not know it has an empty digest.
        if known.get(name, digest) not in ("", digest):
            raise FieldError(
                name,
                f"holds something else than when the run in {folder} began; a resumed run cannot "
                "change it.",
            )


def recipe_difference(
    saved: TrainingConfig, config: TrainingConfig, free: frozenset[str] | set[str] = frozenset()
) -> tuple[str, Any, Any] | None:
    """Return the first field by which a saved recipe computes something else than ``config``.

    Args:
        saved: of the run.
        config: to compare with.
        free: further fields that may differ.

    Returns:
        Its name, its saved value and that of ``config``; None where the two compute the same.
    """
    if saved.task != config.task:
        return "task", saved.task, config.task
    before, now = asdict(saved), asdict(config)
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
    progress = _read_progress(states[-1] / _PROGRESS)
    _require_random_states(states[-1], accelerator)
    try:
        accelerator.load_state(str(states[-1]))
    # Pickles, safetensors and networks each fail in their own ways.
    except Exception as error:
        reason = " ".join(str(error).split())[:100]
        raise UserError(
            f"The checkpoint {states[-1]} is damaged or of another network, and cannot be resumed "
            f"({type(error).__name__}: {reason})."
        ) from error
    return progress


def _read_progress(file: Path) -> Progress:
    saved = read_json(file)
    # States of earlier versions lack what is counted since.
    known = {item.name: saved[item.name] for item in fields(Progress) if item.name in saved}
    progress = Progress(**known)
    counts = (progress.epoch, progress.updates, progress.rollbacks)
    is_whole = {"epoch", "updates"} <= known.keys() and isinstance(progress.task, dict)
    if not is_whole or not all(type(count) is int and count >= 0 for count in counts):
        raise UserError(f"{file} does not say the epoch and updates of its checkpoint.")
    return progress


def _require_random_states(state: Path, accelerator: Accelerator) -> None:
    # accelerate goes on without them, and so would not compute what an unbroken run does.
    name = f"{RNG_STATE_NAME}_{accelerator.process_index}.pkl"
    if accelerator.process_index and not (state / name).exists():
        _log.warning("%s is of fewer processes; the others draw random numbers anew.", state)
        return
    try:
        states = load(state / name)
        if not states.keys() >= _RANDOM_STATES:
            raise ValueError("states are missing")
    except Exception as error:
        raise UserError(
            f"The random numbers of the checkpoint in {state} ({name}) are absent or damaged, so "
            f"it cannot be resumed ({type(error).__name__})."
        ) from error


def _states(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in (folder / "checkpoints").glob("epoch-*")
        if path.suffix != ".partial" and path.name.removeprefix("epoch-").isdecimal()
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
    return read_records(file, "epoch", "seconds")


def read_records(file: Path, *numbers: str) -> list[dict[str, Any]]:
    """Return the records of a file with one JSON object a line; half a last line is left out.

    Args:
        file: whose records may have dicts of numbers: ``train``, ``validation``.
        numbers: what each record must have.

    Raises:
        UserError: if the file is damaged; the message names the line.
    """
    lines = read_text(file).split("\n")
    records = []
    for index, line in enumerate(lines):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            if index == len(lines) - 1:  # nothing, or what a killed process left
                break
            raise UserError(f"{file}, line {index + 1}: it is damaged, and no JSON.") from None
        records.append(record)
        fault = _fault(record, numbers)
        if fault:
            raise UserError(f"{file}, line {index + 1}: {fault}.")
    return records


def _fault(record: Any, numbers: tuple[str, ...]) -> str:
    if not isinstance(record, dict):
        return "it is no JSON object"
    wrong = next((name for name in numbers if not _is_number(record.get(name))), "")
    if wrong:
        return f"{wrong} must be a number"
    for part in ("train", "validation"):
        values = record.get(part, {})
        if not isinstance(values, dict) or not all(map(_is_number, values.values())):
            return f"{part} must be numbers by name"
    return ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def read_json(file: Path) -> dict[str, Any]:
    """Return the JSON object of a run's file.

    Raises:
        UserError: if it is not there, or none.
    """
    try:
        content = json.loads(read_text(file))
    except (ValueError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        content = None
    if not isinstance(content, dict):
        raise UserError(f"{file} is damaged: it is no JSON object.")
    return content
