"""The states that a run can be resumed from: each whole, and known to be."""

import hashlib
import logging
import re
import shutil
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from vkd.errors import RunError, UserError
from vkd.files import PARTIAL, read_json, whole_folder, write_json
from vkd.json_values import as_damaged, entries, finite, whole
from vkd.partials import new_partial
from vkd.training.state import RunState

_log = logging.getLogger("vkd")
_FOLDER, _PROGRESS, _MANIFEST, _ROLLBACK = (
    "checkpoints", "progress.json", "manifest.json", "rollback.json",
)  # fmt: skip
_NAME = re.compile(r"epoch-(\d{5,})(?:-batch-(\d{5,}))?")
# Ends the name of a state that was found damaged; it goes when newer ones are there.
_DAMAGED = ".damaged"
# Beside tensors: what is not counted, and the blocks of the file system.
_SLACK = 10_000_000


@dataclass
class Progress:
    """How far a run has come.

    Attributes:
        epoch: finished epochs.
        batch: batches that each process has had of the next epoch.
        updates: steps of the optimiser.
        processes: that train.
        rollbacks: times that the run went back to a checkpoint; each draws other random numbers.
        best: the best value of the task's metric so far and its ``epoch``; empty before the first.
        task: what the task remembers of the run, see ``Task.progress``.
        skipped: updates in a row that each step has left out last, see ``Guard.in_a_row``.
    """

    epoch: int = 0
    batch: int = 0
    updates: int = 0
    processes: int = 1
    rollbacks: int = 0
    best: dict[str, float] = field(default_factory=dict)
    task: dict[str, float] = field(default_factory=dict)
    skipped: dict[str, list[int]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of its state."""
        return f"epoch-{self.epoch:05d}" + (f"-batch-{self.batch:05d}" if self.batch else "")


@dataclass
class Loaded:
    """A state that was taken over.

    Attributes:
        progress: how far the run had come.
        sums: what this process has summed of an unfinished epoch; None where it has nothing.
        is_diverted: whether the run has gone back to it, and so goes on with other random numbers.
    """

    progress: Progress
    sums: Any = None
    is_diverted: bool = False


def states_of(folder: Path) -> list[Path]:
    """Return the states in a run folder, oldest first, sound or not."""
    found = [path for path in (folder / _FOLDER).glob("epoch-*") if _NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: _place(path.name))


def finished_epochs(folder: Path) -> int | None:
    """Return how many epochs the newest state of a run folder has; None where there is none."""
    states = states_of(folder)
    return _place(states[-1].name)[0] if states else None


def save_state(
    accelerator: Accelerator,
    folder: Path,
    progress: Progress,
    state: RunState,
    *,
    sums: Any = None,
    kept: int = 1,
) -> None:
    """Save all that resuming needs; older states stay until the new one is whole on the disk.

    Args:
        accelerator: of the processes, all of which take part.
        folder: the run folder.
        progress: how far the run has come.
        state: writes what is trained.
        sums: what this process has summed of an unfinished epoch.
        kept: how many states are kept, the new one among them.

    Raises:
        RunError: if the disk has no room for it.
    """
    place = folder / _FOLDER / progress.name
    gathered = state.gathered()
    is_main = accelerator.is_main_process
    if is_main:
        place.parent.mkdir(exist_ok=True)
        _require_room(place.parent, gathered.size)
    partial = place.with_name(place.name + PARTIAL)
    with whole_folder(place) if is_main else nullcontext(partial):
        accelerator.wait_for_everyone()
        state.write_own(partial, sums)
        if is_main:
            state.write(partial, gathered)
            write_json(partial / _PROGRESS, asdict(progress))
        accelerator.wait_for_everyone()
        if is_main:
            write_json(partial / _MANIFEST, {"files": _digests(partial)})
    if is_main:
        prune(folder, kept)
        for damaged in place.parent.glob(f"epoch-*{_DAMAGED}"):
            shutil.rmtree(damaged, ignore_errors=True)
    accelerator.wait_for_everyone()


def _require_room(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size + _SLACK:
        raise RunError(
            f"A checkpoint of {size / 1e9:.2f} GB does not fit on the disk of "
            f"{str(folder)[-150:]}, which has {free / 1e9:.2f} GB; older ones are kept: make room "
            "and resume."
        )


def _digests(folder: Path) -> dict[str, dict[str, Any]]:
    return {
        file.name: {"bytes": file.stat().st_size, "sha256": _digest(file)}
        for file in sorted(folder.iterdir())
    }


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def prune(folder: Path, kept: int) -> None:
    """Remove all but the newest ``kept`` states; no part of one keeps the name of a state."""
    for older in states_of(folder)[:-kept]:
        removed = new_partial(older)
        older.replace(removed / older.name)
        shutil.rmtree(removed)


def fault_of(state: Path) -> str:
    """Return what is wrong with a state, by its manifest; nothing where it is sound.

    Only names, sizes and digests are looked at, so that nothing of a stranger's is opened.
    """
    if not state.is_dir():
        return "it is no folder"
    if not (state / _MANIFEST).is_file():
        return (
            "it is of an earlier version, whose states hold pickles, which may run code"
            if any(state.glob("*.pkl")) or any(state.glob("*.bin"))
            else f"it has no {_MANIFEST}"
        )
    try:
        files = read_json(state / _MANIFEST).get("files")
    except UserError:
        files = None
    if not isinstance(files, dict) or _PROGRESS not in files:
        return f"its {_MANIFEST} is damaged"
    for name, known in files.items():
        if fault := _file_fault(state, name, known):
            return fault
    return ""


def _file_fault(state: Path, name: str, known: Any) -> str:
    if Path(name).name != name or not isinstance(known, Mapping):
        return f"its {_MANIFEST} is damaged"
    file = state / name
    if file.is_symlink() or not file.is_file():
        return f"{name} is not there"
    size = file.stat().st_size
    if size != known.get("bytes"):
        return f"{name} has {size} bytes, not {known.get('bytes')}"
    return "" if _digest(file) == known.get("sha256") else f"{name} has changed"


def newest_sound(folder: Path) -> Path | None:
    """Return the newest sound state of a run folder; None where there is no state at all.

    Newer ones that are damaged are named in the log, and set aside.

    Raises:
        UserError: if there are states, and none is sound.
    """
    if (folder / _FOLDER).exists() and not (folder / _FOLDER).is_dir():
        raise UserError(f"{str(folder / _FOLDER)[-200:]} is no folder of checkpoints.")
    faults: dict[Path, str] = {}
    for state in reversed(states_of(folder)):
        fault = fault_of(state)
        if not fault:
            for skipped, reason in faults.items():
                _log.warning(
                    "The checkpoint %s is damaged (%s), so the run goes on from %s.",
                    skipped, reason, state.name,
                )  # fmt: skip
                _set_aside(skipped)
            return state
        faults[state] = fault
    if not faults:
        return None
    newest, fault = next(iter(faults.items()))
    raise UserError(
        f"{str(newest)[-120:]} cannot be resumed, nor any other of {len(faults)} checkpoints: "
        f"{fault}; begin again in a new folder."
        if len(faults) > 1
        else f"{str(newest)[-120:]} cannot be resumed: {fault}; begin again in a new folder."
    )


def _set_aside(state: Path) -> None:
    target = state.with_name(state.name + _DAMAGED)
    if target.is_dir():
        shutil.rmtree(target)
    state.replace(target)


def load_state(accelerator: Accelerator, folder: Path, state: RunState) -> Loaded | None:
    """Load the newest sound state of a run folder; None for a folder without one.

    Raises:
        UserError: if none is sound, or it is of other networks.
    """
    found = [str(newest_sound(folder) or "") if accelerator.is_main_process else ""]
    broadcast_object_list(found)
    if not found[0]:
        return None
    place = Path(found[0])
    progress = _read_progress(place / _PROGRESS)
    try:
        state.load(place)
        sums = state.load_own(place)
    except UserError:
        raise
    # Networks and optimisers of other shapes each fail in their own ways.
    except Exception as error:
        reason = " ".join(str(error).split())[:100]
        raise UserError(
            f"The checkpoint {place} is of another network or optimiser, and cannot be resumed "
            f"({type(error).__name__}: {reason})."
        ) from error
    if sums is None and progress.processes < accelerator.num_processes:
        _log.warning("%s is of fewer processes; the others draw random numbers anew.", place)
    diverted = _read_rollback(folder, place.name)
    if diverted is not None:
        progress.rollbacks, progress.task = diverted
    return Loaded(progress, sums, diverted is not None)


def _read_progress(file: Path) -> Progress:
    saved = read_json(file)
    with as_damaged(file):
        return Progress(
            **{name: whole(saved[name]) for name in ("epoch", "batch", "updates", "rollbacks")},
            processes=whole(saved["processes"], 1),
            best=_numbers(saved["best"]),
            task=_numbers(saved["task"]),
            skipped={
                kind: [whole(count) for count in entries(saved["skipped"][kind], list)]
                for kind in ("left_out", "overflows")
            },
        )


def _numbers(saved: Any) -> dict[str, float]:
    """Numbers by name, whole ones as such."""
    for value in entries(saved, dict).values():
        finite(value)
    return saved


def write_rollback(folder: Path, progress: Progress) -> None:
    """Keep that a run has gone back to the state of ``progress``, and so draws other numbers."""
    content = {
        "state": progress.name, "rollbacks": progress.rollbacks, "task": progress.task,
    }  # fmt: skip
    write_json(folder / _FOLDER / _ROLLBACK, content)


def _read_rollback(folder: Path, name: str) -> tuple[int, dict[str, float]] | None:
    """How often a run has gone back, and what its task remembers, where that was to this state."""
    file = folder / _FOLDER / _ROLLBACK
    if not file.is_file():
        return None
    found = read_json(file)
    if found.get("state") != name:
        return None
    with as_damaged(file):
        return whole(found["rollbacks"]), _numbers(found["task"])


def _place(name: str) -> tuple[int, int]:
    match = _NAME.fullmatch(name)
    assert match is not None
    return int(match[1]), int(match[2] or 0)
