"""What the command line does: train, evaluate and predict, for the task that a recipe names."""

import inspect
import json
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from accelerate import PartialState
from accelerate.utils import set_seed

from vkd.config import TrainingConfig, config_of, read_recipe
from vkd.errors import UserError
from vkd.models import check_name, read_metadata
from vkd.reporting.model_card import write_model_card
from vkd.training.checkpoint import open_run_folder
from vkd.training.trainer import Trainer, check_training, make_accelerator


def _task(config: TrainingConfig) -> ModuleType:
    """The module of a recipe's task: ``make_task``, ``evaluate`` and ``predict``."""
    return import_module(f"vkd.tasks.{config.task}")


def train(
    config: TrainingConfig, folder: Path, resume: bool = False, show: bool = True
) -> dict[str, float]:
    """Train by a recipe into a run folder and return the validation metrics.

    A teacher that has a recipe but no checkpoint is trained first, in the folder ``teacher``, and
    likewise an ``extractor`` of metrics.

    Raises:
        UserError: if the folder is taken, or the recipe asks for what is not there.
        RunError: if training diverges.
    """
    make_accelerator(config)
    check_training(config)
    _check_names(config)
    with PartialState().main_process_first():
        is_first = PartialState().is_main_process
        open_run_folder(folder, config, resume or not is_first)
    config = _with_networks(config, folder, show)
    set_seed(config.seed)
    task = _task(config).make_task(config)
    facts = task.facts()
    # Equal weights everywhere, but not the same mixing and dropout on every process.
    set_seed(config.seed, device_specific=True)
    metrics = Trainer(task, config, folder, show).fit(resume)
    if PartialState().is_main_process:
        write_model_card(folder / "README.md", config, metrics, facts)
    return metrics


def cache(
    config: TrainingConfig, folder: Path, views: int = 0, dtype: str = "float16", show: bool = True
) -> dict[str, float]:
    """Ask a recipe's teacher once about its training images and keep the answers in a store.

    A teacher that has a recipe but no checkpoint is trained first, in the folder ``teacher``. What
    was interrupted goes on.

    Args:
        config: the recipe.
        folder: of the store.
        views: augmented views of each image; 0 for one, where no augmentation is random.
        dtype: of the numbers, float16 or float32.
        show: print progress.

    Returns:
        Sizes of the store.

    Raises:
        UserError: if the recipe has no teacher, or one that no store can replace; or the folder is
            taken.
        RunError: if the answers do not fit the disk or the dtype.
    """
    task = _task(config)
    if not hasattr(task, "TeacherCache"):
        raise UserError(f"vkd cache is for classification; the recipe's task is {config.task}.")
    # What no store can do is refused by the config.
    taught = config_of(asdict(config) | {"teacher_store": str(folder)})
    if not any(getattr(taught, name) for name in ("feature_weight", "logit_weight")):
        raise UserError("--feature-weight and --logit-weight are 0; the recipe asks no teacher.")
    _check_names(config)
    accelerator = make_accelerator(config)
    with PartialState().main_process_first():
        cached = task.TeacherCache(config, folder, views, dtype)
    return cached.fill(_with_networks(config, folder, show), accelerator, show)


def _check_names(config: Any) -> None:
    roles = ["student", "model", "teacher"]
    # The extractor of FID has neither and is no model by name.
    if getattr(config, "extractor_checkpoint", "") or getattr(config, "extractor_recipe", ""):
        roles.append("extractor")
    for role in roles:
        if name := getattr(config, role, ""):
            check_name(name, f"--{role}")


def end_processes() -> None:
    """Leave the process group, if torchrun or accelerate made one; call it last."""
    PartialState().destroy_process_group()


def _with_networks(config: Any, folder: Path, show: bool) -> Any:
    """The config with the checkpoints of the frozen networks that it needs, trained first where
    they have a recipe: of the teacher that its losses ask for, of the extractor of its metrics."""
    weights = [getattr(config, name, 0) for name in ("feature_weight", "logit_weight")]
    is_taught = any(weights) and not getattr(config, "teacher_store", "")
    needed = {"teacher": is_taught, "extractor": getattr(config, "extractor_recipe", "") != ""}
    for role in (name for name, is_needed in needed.items() if is_needed):
        if getattr(config, f"{role}_checkpoint"):
            continue
        recipe = getattr(config, f"{role}_recipe")
        if not recipe:
            raise UserError(
                f"--{role} {getattr(config, role)} needs --{role}-checkpoint, a weights file or "
                "run folder."
            )
        shared = {name: getattr(config, name) for name in ("dataset", "data_path", "device")}
        values = read_recipe(recipe) | shared | ({"seed": 1} if role == "extractor" else {})
        place = folder / role
        train(config_of(values), place, resume=(place / "recipe.yaml").is_file(), show=show)
        config = replace(config, **{f"{role}_checkpoint": str(place)})
    return config


def evaluate(checkpoint: str, recipe: str = "", **changes: Any) -> dict[str, float]:
    """Return the test metrics of a checkpoint, a weights file or run folder.

    Beside the task's metrics: ``parameters`` and multiply-adds (``macs``) of the model and
    ``images_per_second`` of this evaluation, data loading included.

    Args:
        checkpoint: weights file or run folder.
        recipe: name or file, where the checkpoint does not tell its own.
        **changes: fields of the recipe to change, for example ``data_path``, and options of the
            task's own ``evaluate``.

    Raises:
        UserError: if it is not a checkpoint, or not one of the recipe's model.
    """
    values = recipe_fields(checkpoint, recipe)
    given = {key: value for key, value in changes.items() if value != ""}
    config = config_of(values | {key: value for key, value in given.items() if key in values})
    run = _task(config).evaluate
    options = {key: value for key, value in given.items() if key not in values}
    return run(config, checkpoint, make_accelerator(config), **_accepted(run, options, config))


def predict(
    checkpoint: str, images: list[str], recipe: str = "", **options: Any
) -> list[dict[str, Any]]:
    """Return a record for each image file, or for each image that is made; see the task's own.

    Args:
        checkpoint: weights file or run folder.
        images: files to look at.
        recipe: name or file, where the checkpoint does not tell its own.
        **options: of the task's own ``predict``.

    Raises:
        UserError: if the checkpoint or an image cannot be read.
    """
    config = config_of(recipe_fields(checkpoint, recipe))
    run = _task(config).predict
    given = {key: value for key, value in options.items() if value is not None}
    return run(config, checkpoint, images, **_accepted(run, given, config))


def _accepted(run: Any, options: dict[str, Any], config: TrainingConfig) -> dict[str, Any]:
    for name in options:
        if name not in inspect.signature(run).parameters:
            flag = "--" + name.replace("_", "-")
            raise UserError(f"{flag} has no meaning for {config.task}.")
    return options


def recipe_fields(checkpoint: str, recipe: str = "") -> dict[str, Any]:
    """Return all fields of the recipe that a checkpoint belongs to.

    Raises:
        UserError: if neither the checkpoint nor ``recipe`` tells.
    """
    metadata = read_metadata(checkpoint)
    if not recipe and "recipe" not in metadata:
        raise UserError(
            f"{checkpoint} does not say which recipe its model belongs to; name it with --recipe."
        )
    values = read_recipe(recipe) if recipe else json.loads(metadata["recipe"])
    return asdict(config_of(values))
