"""``vkd.train``."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from accelerate import Accelerator, PartialState
from accelerate.utils import broadcast_object_list, set_seed
from torch import nn

from vkd.api.going_on import check_going_on, start_of
from vkd.api.networks import (
    check_networks,
    missing_networks,
    recipe_of_network,
    with_checkpoint,
    with_runs_resolved,
)
from vkd.config import DistillationConfig, TrainingConfig
from vkd.errors import FieldError
from vkd.models.digest import checkpoint_digest
from vkd.models.factory import HUB
from vkd.models.training_checkpoint import TrainingCheckpoint
from vkd.notes import say
from vkd.recipe import as_config, config_of, saved_recipe
from vkd.reporting.model_card import write_model_card
from vkd.tasks import check_method, metric_of, task_of
from vkd.training.accelerator import make_accelerator
from vkd.training.checkpoint import states_of
from vkd.training.determinism import naming_operations
from vkd.training.extra_log import ExtraLog
from vkd.training.lock import locked
from vkd.training.optimization import check_training
from vkd.training.precision import settle_precision
from vkd.training.processes import require_shared, restarts
from vkd.training.run_folder import check_sources, open_run_folder, withdrawn_unless_built
from vkd.training.spec import resolve
from vkd.training.task import Objects, Task
from vkd.training.trackers import check_trackers
from vkd.training.trainer import Trainer


@naming_operations()
def train(
    recipe: str | TrainingConfig,
    folder: str | Path = "",
    *,
    resume: bool = False,
    auto_resume: bool = False,
    begun: TrainingCheckpoint | None = None,
    show: bool = True,
    student: str | nn.Module | None = None,
    teacher: Any = None,
    loss: Any = None,
    data: Any = None,
    logs: Sequence[ExtraLog] = (),
    **changes: Any,
) -> dict[str, float]:
    """Train by a recipe into a run folder and return the validation metrics.

    A teacher that has a recipe but no checkpoint is trained first, in the folder ``teacher``, and
    likewise an ``extractor`` of metrics.

    Args:
        recipe: name, YAML file, or config.
        folder: the run folder; ``runs/RECIPE`` by default.
        resume: resume the run in the folder from its last checkpoint.
        auto_resume: the same where the folder holds a run; begin where it does not. So does a
            process that torchrun has started again.
        begun: what another program's training left, to go on from into a new run folder; see
            ``vkd.models.training_checkpoint.read_training_checkpoint``.
        show: print progress.
        student: your own network in place of the recipe's, or the name of another.
        teacher: the same, or anything with the interface of ``vkd.teacher.Teacher``.
        loss: your own method: called with ``vkd.methods.method.Sizes``, it returns a module that
            maps ``Signals`` to a scalar; a subclass of ``vkd.methods.method.Method`` does.
        data: your own splits, see ``vkd.splits_of``.
        logs: files to write in the run folder beside our own records, in other formats.
        **changes: fields of the recipe to change, for example ``epochs=3``.

    Raises:
        UserError: if the folder is taken, or holds no run to resume, or if something does not exist
            that the recipe names.
        RunError: if training diverges.
        Stopped: if SIGTERM, SIGUSR1 or Ctrl-C ended the run after it saved a checkpoint.
    """
    objects, named = objects_and_names(student=student, teacher=teacher, loss=loss, data=data)
    config = with_runs_resolved(as_config(recipe, changes | named))
    target = Path(folder or f"runs/{Path(recipe).stem if isinstance(recipe, str) else config.task}")
    _check(config, objects)
    accelerator = make_accelerator(config)
    # Of a run's processes the first alone writes.
    with locked(target) if accelerator.is_main_process else nullcontext():
        return _train(config, objects, target, accelerator, resume, auto_resume, begun, show, logs)


def _train(
    config: TrainingConfig,
    objects: Objects,
    target: Path,
    accelerator: Accelerator,
    resume: bool,
    auto_resume: bool,
    begun: TrainingCheckpoint | None,
    show: bool,
    logs: Sequence[ExtraLog],
) -> dict[str, float]:
    """Train into a folder that is locked; see ``train``."""
    resume = _is_resumed(target, resume, auto_resume)
    is_new = begun is None and _open(target, config, accelerator, resume)
    with withdrawn_unless_built(target, is_new):
        if begun is None:
            config = with_networks(config, target, show)
            # Anew, as the training of a teacher has left its own settings.
            accelerator = make_accelerator(config)
        else:
            _check_begun(config, begun)
        goes_on = begun is not None or (resume and bool(states_of(target)))
        task, cost = build_task(config.going_on() if goes_on else config, objects)
    start = start_of(task, config, begun) if begun else None
    best_by = metric_of(config) if config.keep_best else None
    trainer = Trainer(task, config, target, accelerator, show, logs, best_by)
    if begun and start:
        # As late as this, so that a checkpoint that does not fit leaves no folder.
        _open(target, config, accelerator, resume)
        say(begun.weights.file, [*trainer.begin(start[0]), *start[1]])
    with accelerator.main_process_first():
        others = resume or not accelerator.is_main_process
        check_sources(target, _sources(config, task), others)
    is_resumed, last = resume and begun is None, config.channels_last
    settle_precision(task.step_teacher(), accelerator, target, is_resumed, last)
    metrics = trainer.fit(resume or begun is not None)
    if accelerator.is_main_process:
        write_model_card(target / "README.md", config, metrics, cost)
    return metrics


def _is_resumed(folder: Path, resume: bool, auto_resume: bool) -> bool:
    """Whether the run in a folder goes on.

    Raises:
        FieldError: if it shall, and there is none.
    """
    found = [(folder / "recipe.yaml").is_file()]
    # As the first process sees it, which may make the folder while others look.
    (holds_run,) = broadcast_object_list(found)
    if resume and not holds_run:
        raise FieldError("resume", f"found no run in {folder}; auto_resume begins one there.")
    return resume or (holds_run and (auto_resume or restarts() > 0))


def _open(folder: Path, config: TrainingConfig, accelerator: Accelerator, resume: bool) -> bool:
    """Make or open the run folder; return whether this process made it."""
    with accelerator.main_process_first():
        require_shared(folder / "recipe.yaml", accelerator)
        # Only the first process may make the folder; the others find the first one's recipe.
        others = resume or not accelerator.is_main_process
        return open_run_folder(folder, config, others, saved_recipe)


def _check_begun(config: TrainingConfig, begun: TrainingCheckpoint) -> None:
    check_going_on(config, begun)
    for network in missing_networks(config):
        raise FieldError(
            f"{network.role}_checkpoint", "is needed to go on with training that has one."
        )


def objects_and_names(**given: Any) -> tuple[Objects, dict[str, Any]]:
    """Split what is given by role into objects, and fields of the recipe.

    Names are fields as they are; of objects the recipe records the types, as the rest cannot be
    rebuilt from it.
    """
    names: dict[str, Any] = {role: name for role, name in given.items() if isinstance(name, str)}
    objects = Objects(**{role: part for role, part in given.items() if role not in names})
    types = objects.given()
    return objects, names | ({"objects": types} if types else {})


def _check(config: TrainingConfig, objects: Objects) -> None:
    check_training(config)
    check_trackers(config.tracker_names)
    check_networks(config)
    if objects.loss is None:
        check_method(config)
    is_weightless = isinstance(config, DistillationConfig) and not config.feature_weight
    if objects.loss is not None and is_weightless:
        raise FieldError("feature_weight", "is 0, so the loss that is given would have no effect.")


def build_task(config: TrainingConfig, objects: Objects) -> tuple[Task, dict[str, float]]:
    """Return the task of a recipe, as a run begins with it, and the cost of its model."""
    set_seed(config.seed)
    task = resolve(task_of(config).task)(config, objects)
    cost = task.cost()
    # Equal weights everywhere, but not the same mixing and dropout on every process.
    set_seed(config.seed, device_specific=True)
    return task, cost


def _sources(config: TrainingConfig, task: Task) -> dict[str, str]:
    """Digests of the data and of the frozen networks' weights."""
    networks = {
        f"{network.role}_checkpoint": checkpoint_digest(network.checkpoint)
        for network in config.frozen_networks()
        if network.checkpoint not in ("", HUB)
    }
    return task.sources() | networks


def with_networks(config: TrainingConfig, folder: Path, show: bool) -> TrainingConfig:
    """Return the config with the checkpoints of the frozen networks that it needs.

    Those that have only a recipe are trained, each in a folder of ``folder``.
    """
    for network in missing_networks(config):
        place = folder / network.role
        fields = recipe_of_network(network)
        with fields.in_place():
            is_begun = (place / "recipe.yaml").is_file()
            train(config_of(fields), place, resume=is_begun, show=show)
        config = with_checkpoint(config, network, place)
    return config


def end_processes() -> None:
    """Leave the process group, if torchrun or accelerate made one; call it last."""
    PartialState().destroy_process_group()
