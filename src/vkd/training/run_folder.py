"""Run folders: made, or opened to go on in them, never with another recipe or other data."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vkd.config import TrainingConfig, write_recipe
from vkd.errors import FieldError
from vkd.files import read_json, write_json
from vkd.places import check_place
from vkd.training.checkpoint import finished_epochs
from vkd.training.lock import LOCK, is_new

_log = logging.getLogger("vkd")
# These change how fast a run goes, or where, but not what it computes.
_FREE_ON_RESUME = {
    "device", "workers", "trackers", "log_every", "compile", "checkpoint_every",
    "checkpoint_every_steps", "checkpoint_every_minutes", "checkpoints_kept", "keep_best",
    # What a run does once a step has failed, which the user may want to change then.
    "on_failure", "rollbacks",
}  # fmt: skip
# Where something lies; what it is must not change, see ``check_sources``.
_PLACES = {
    "data_path", "image_folder", "teacher_checkpoint", "teacher_store", "extractor_checkpoint",
}  # fmt: skip
_SOURCES = "sources.json"


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
    check_place(folder, "output")
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
    if folder.exists() and (not folder.is_dir() or not is_new(folder)):
        raise FieldError("output", f"{folder} exists and is not a run; name a new folder.")
    folder.mkdir(parents=True, exist_ok=True)


@contextmanager
def withdrawn_unless_built(folder: Path, was_made: bool) -> Iterator[None]:
    """Remove the recipe of a new run folder that holds nothing else if what follows fails.

    The same command can then be given again, mended, without a word about a run that never began.
    """
    try:
        yield
    except BaseException:
        recipe = folder / "recipe.yaml"
        if was_made and {part.name for part in folder.iterdir()} <= {recipe.name, LOCK}:
            recipe.unlink()
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
    if resume and not file.is_file() and finished_epochs(folder) is not None:
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
