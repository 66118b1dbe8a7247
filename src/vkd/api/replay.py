"""``vkd.replay``."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from vkd.api.networks import missing_networks, with_checkpoint
from vkd.api.train import build_task, objects_and_names
from vkd.config import TrainingConfig
from vkd.errors import FieldError, UserError
from vkd.recipe import changed, config_of, read_recipe
from vkd.training.accelerator import make_accelerator
from vkd.training.failures import Kept, kept_failures
from vkd.training.precision import settle_precision
from vkd.training.reading import read
from vkd.training.replay import Replayed, replay_step
from vkd.training.task import Objects
from vkd.training.trainer import Trainer


def replay(
    run: str | Path,
    *,
    update: int | None = None,
    process: int | None = None,
    device: str = "",
    student: str | nn.Module | None = None,
    teacher: Any = None,
    loss: Any = None,
    data: Any = None,
    **places: Any,
) -> Replayed:
    """Take a training step again whose numbers were not finite, and check every layer.

    The task is built from the run's recipe and gets the weights, the batch and the random numbers
    that the run has kept. Where it has kept none, as accelerators do, training goes on from the
    last checkpoint, reading every step's values, until the step fails again, and keeps it then.
    Nothing else in the run folder changes. A process of several is replayed alone.

    Args:
        run: the run folder.
        update: of the failure, from 1; the last one's by default.
        process: of several, whose failure it is; the first that has one by default.
        device: to compute on; the recipe's by default.
        student: your own network, where the run was trained with one, or its name where that is a
            file of Python, which runs only where you name it.
        teacher, loss, data: likewise, see ``vkd.train``.
        **places: fields of the recipe that say where data and teachers lie now.

    Raises:
        UserError: if the folder has no failed step, or a damaged one.
        RunError: if training cannot go on to the step.
    """
    folder = Path(run)
    if not (folder / "recipe.yaml").is_file():
        raise UserError(f"{folder} is not a run folder: it has no recipe.yaml.")
    kept = chosen(kept_failures(folder), folder, update, process)
    objects, named = objects_and_names(student=student, teacher=teacher, loss=loss, data=data)
    saved = read_recipe(str(folder / "recipe.yaml"))
    for role, kind in saved.get("objects", {}).items():
        if role not in objects.given():
            raise UserError(
                f"{folder} was trained with a {role} given as a Python object ({kind}), which no "
                f"file holds; give it again, as {role}=... in Python."
            )
    changes = named | places | ({"device": device} if device else {})
    config = config_of(changed(saved, changes))
    trainer = _trainer(config, folder, objects)
    if not (kept.failure.is_kept and kept.failure.has_weights):
        trainer.find_failure(kept.failure.update)
        kept = chosen(kept_failures(folder), folder, kept.failure.update, process)
    batch = next(read(trainer.train_batches))
    return replay_step(kept, batch, list(trainer.modules), trainer.accelerator)


def chosen(failures: Sequence[Kept], folder: Path, update: int | None, process: int | None) -> Kept:
    """Return the failure that is asked for.

    Raises:
        FieldError: if there is none of this update or process.
        UserError: if there is none at all.
    """
    if not failures:
        raise UserError(f"{folder} has no failed step to replay: it has no folder failures.")
    wanted = failures[-1].failure.update if update is None else update
    found = [kept for kept in failures if kept.failure.update == wanted]
    if not found:
        known = ", ".join(dict.fromkeys(str(kept.failure.update) for kept in failures))
        raise FieldError("update", f"must be one that failed ({known[:80]}), found {wanted}.")
    if process is not None:
        found = [kept for kept in found if kept.failure.process == process]
        if not found:
            raise FieldError("process", f"{process} has no failure at update {wanted}.")
    return found[0]


def _trainer(config: TrainingConfig, folder: Path, objects: Objects) -> Trainer:
    """The trainer of a run, which writes nothing by itself."""
    for network in missing_networks(config):
        config = with_checkpoint(config, network, folder / network.role)
    # What changes speed alone, and would take time to start.
    config = replace(config, workers=0, trackers="", compile=False)
    accelerator = make_accelerator(config)
    task, _ = build_task(config.going_on(), objects)
    trainer = Trainer(task, config, folder, accelerator, show=False)
    settle_precision(task.step_teacher(), accelerator, folder, True, config.channels_last)
    return trainer
