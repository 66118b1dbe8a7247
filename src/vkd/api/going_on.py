"""Going on with training that the paper's release began."""

import json
from dataclasses import asdict
from typing import Any

from vkd.config import TrainingConfig
from vkd.errors import FieldError, UserError, as_user_error, shortened
from vkd.models.checkpoints import recognised
from vkd.models.fit import check_fit
from vkd.models.training_checkpoint import TrainingCheckpoint
from vkd.network_names import parse
from vkd.training.start import Start
from vkd.training.task import Task


def check_going_on(config: TrainingConfig, begun: TrainingCheckpoint) -> None:
    """Refuse, before anything is built, a checkpoint that a recipe cannot go on from.

    Raises:
        UserError: if it is of another model, or has no epoch left.
    """
    name, found = config.model_names().get("student", ""), begun.weights.architecture
    if found and name and parse(found) != parse(name):
        raise UserError(_mismatch(begun, found, name))
    if begun.finished >= config.epochs:
        raise FieldError(
            "epochs",
            f"is {config.epochs}, and {shortened(begun.weights.file, 120)} has finished "
            f"{begun.finished} epochs; give more to go on.",
        )


def start_of(
    task: Task, config: TrainingConfig, begun: TrainingCheckpoint
) -> tuple[Start, list[str]]:
    """Give a task's networks the weights of a checkpoint.

    Args:
        task: built without weights to start from.
        config: the recipe.
        begun: of the same model.

    Returns:
        What the task's trainer starts with, and what is to be said of the rest.

    Raises:
        UserError: if the weights are of another model than the task's.
    """
    _check_kind(task, begun)
    read = begun.weights
    state = read.fitted(task.model.state_dict()).state
    check_fit(task.model, state, read.file)
    task.model.load_state_dict(state)
    averaged = begun.averaged if config.ema_decay else {}
    if averaged:
        check_fit(task.model, averaged, read.file)
    with as_user_error("resume"):
        taken = task.take_projections(read.projections)
    model = task.steps[0].module.deployed
    moments = {f"{model}.{name}": moment for name, moment in begun.moments.items()}
    scales = begun.projection_moments
    start = Start(
        epoch=begun.finished,
        averaged=averaged,
        moments=moments | {own: scales[name] for name, own in taken.items() if name in scales},
        scaler=begun.scaler,
    )
    return start, [*_left_out(config, begun, len(taken)), *begun.notes]


def _left_out(config: TrainingConfig, begun: TrainingCheckpoint, taken: int) -> list[str]:
    """What is to be said of weights that are not taken, when so many tensors of projections are."""
    notes = []
    count = len(begun.weights.projections)
    if taken < count:
        notes.append(
            f"{count - taken} of {count} tensors of projections are left out, as this run's losses "
            "have no such projections"
        )
    if begun.averaged and not config.ema_decay:
        notes.append("its averaged weights are left out, as this run averages none")
    unread = [f"{name} {asdict(config)[name]}" for name in config.STARTS if asdict(config)[name]]
    if unread:
        notes.append(f"{', '.join(unread)} is not loaded, as the weights are the file's")
    return notes


def _check_kind(task: Task, begun: TrainingCheckpoint) -> None:
    """Compare what a file says of its model with the same of the task's."""
    state = task.model.state_dict()
    adapter, _ = recognised(state, "")
    name, options = adapter.architecture(state)
    # Of what shapes do not tell, the run's own record.
    options |= json.loads(task.metadata().get("options", "{}"))
    told = begun.weights.options.items()
    theirs = {name: list(v) if isinstance(v, tuple) else v for name, v in told}
    differing = [key for key in theirs if key in options and theirs[key] != options[key]]
    if begun.weights.architecture != name or differing:
        found, asked = (_kind(o, differing) for o in (theirs, options))
        raise UserError(_mismatch(begun, begun.weights.architecture + found, name + asked))


def _kind(options: dict[str, Any], names: list[str]) -> str:
    shown = ", ".join(f"{name} {options[name]}" for name in names[:3])
    return f" ({shown})" if shown else ""


def _mismatch(begun: TrainingCheckpoint, found: str, asked: str) -> str:
    return (
        f"{shortened(begun.weights.file, 120)} is of {found or 'another model'}, and this run is "
        f"of {asked or 'another model'}; only a run of the same can go on from it."
    )
