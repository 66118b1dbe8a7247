"""What the command line does: train, evaluate and predict, for the task that a recipe names."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import set_seed

from vkd.config import ClassificationConfig, TrainingConfig, config_of, read_recipe
from vkd.errors import UserError
from vkd.models import create_model, read_metadata
from vkd.reporting.model_card import model_facts, write_model_card
from vkd.tasks.classification import (
    ClassificationTask,
    evaluate_classifier,
    evaluation_loader,
    predict_images,
    read_splits,
    student_shape,
)
from vkd.training.checkpoint import open_run_folder
from vkd.training.trainer import Trainer, make_accelerator


def train(
    config: TrainingConfig, folder: Path, resume: bool = False, show: bool = True
) -> dict[str, float]:
    """Train by a recipe into a run folder and return the validation metrics.

    A teacher that has a recipe but no checkpoint is trained first, in the folder ``teacher``.

    Raises:
        UserError: if the folder is taken, or the recipe asks for what is not there.
        RunError: if training diverges.
    """
    assert isinstance(config, ClassificationConfig)
    make_accelerator(config)
    with PartialState().main_process_first():
        is_first = PartialState().is_main_process
        open_run_folder(folder, config, resume or not is_first)
    config = replace(config, teacher_checkpoint=_teacher_checkpoint(config, folder, show))
    set_seed(config.seed)
    task = ClassificationTask(config)
    facts = model_facts(task.model, task.splits.shape)
    # Equal weights everywhere, but not the same mixing and dropout on every process.
    set_seed(config.seed, device_specific=True)
    metrics = Trainer(task, config, folder, show).fit(resume)
    if PartialState().is_main_process:
        write_model_card(folder / "README.md", config, metrics, facts)
    return metrics


def end_processes() -> None:
    """Leave the process group, if torchrun or accelerate made one; call it last."""
    PartialState().destroy_process_group()


def _teacher_checkpoint(config: ClassificationConfig, folder: Path, show: bool) -> str:
    needs_teacher = config.feature_weight or config.logit_weight
    if config.teacher_checkpoint or not needs_teacher:
        return config.teacher_checkpoint
    if not config.teacher_recipe:
        raise UserError(
            f"--teacher {config.teacher} needs --teacher-checkpoint, a weights file or run folder."
        )
    teacher = config_of(
        read_recipe(config.teacher_recipe)
        | {"dataset": config.dataset, "data_path": config.data_path, "device": config.device}
    )
    teacher_folder = folder / "teacher"
    train(teacher, teacher_folder, resume=(teacher_folder / "recipe.yaml").is_file(), show=show)
    return str(teacher_folder)


def evaluate(checkpoint: str, recipe: str = "", **changes: Any) -> dict[str, float]:
    """Return the test metrics of a checkpoint, a weights file or run folder.

    Beside the task's metrics: ``parameters`` and multiply-adds (``macs``) of the model and
    ``images_per_second`` of this evaluation, data loading included.

    Args:
        checkpoint: weights file or run folder.
        recipe: name or file, where the checkpoint does not tell its own.
        **changes: fields of the recipe to change, for example ``data_path``.

    Raises:
        UserError: if it is not a checkpoint, or not one of the recipe's model.
    """
    config = _config_of_checkpoint(checkpoint, recipe, changes)
    accelerator = make_accelerator(config)
    splits = read_splits(config)
    model = create_model(
        config.student, checkpoint, **student_shape(config, splits.shape, len(splits.classes))
    )
    facts = model_facts(model, splits.shape)
    batches = evaluation_loader(config, splits.test)
    model, batches = accelerator.prepare(model, batches)
    began = time.perf_counter()
    metrics = evaluate_classifier(model, batches, accelerator)
    speed = len(splits.test) / (time.perf_counter() - began)  # type: ignore[arg-type]
    return metrics | facts | {"images_per_second": speed}


def predict(
    checkpoint: str, images: list[str], recipe: str = "", device: str = "auto"
) -> list[dict[str, Any]]:
    """Return a record for each image file: its class and the probability.

    Raises:
        UserError: if the checkpoint or an image cannot be read.
    """
    config = _config_of_checkpoint(checkpoint, recipe, {"device": device})
    metadata, shape = read_metadata(checkpoint), {}
    if "inputs" in metadata:
        image, classes = json.loads(metadata["inputs"])["shape"], json.loads(metadata["classes"])
        shape = student_shape(config, image, len(classes))
    model = create_model(config.student, checkpoint, **shape)
    return predict_images(model, metadata, [Path(image) for image in images])


def _config_of_checkpoint(
    checkpoint: str, recipe: str, changes: dict[str, Any]
) -> ClassificationConfig:
    metadata = read_metadata(checkpoint)
    if not recipe and "recipe" not in metadata:
        raise UserError(
            f"{checkpoint} does not say which recipe its model belongs to; name it with --recipe."
        )
    values = read_recipe(recipe) if recipe else json.loads(metadata["recipe"])
    config = config_of(values | {key: value for key, value in changes.items() if value != ""})
    assert isinstance(config, ClassificationConfig)
    return config
