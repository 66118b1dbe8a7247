"""What the command line does: train, evaluate and predict, for the task that a recipe names."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import set_seed

from vkd.config import ClassificationConfig, TrainingConfig, config_of, read_recipe
from vkd.data import loader
from vkd.errors import UserError
from vkd.models import create_model, read_metadata
from vkd.tasks.classification import (
    ClassificationTask,
    evaluate_classifier,
    predict_images,
    read_splits,
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
    return Trainer(ClassificationTask(config), config, folder, show).fit(resume)


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


def evaluate(checkpoint: str, data_path: str = "", device: str = "auto") -> dict[str, float]:
    """Return the test metrics of a checkpoint, a weights file or run folder.

    Raises:
        UserError: if it is not a checkpoint of ours.
    """
    config = _config_of_checkpoint(checkpoint, data_path, device)
    accelerator = make_accelerator(config)
    model = create_model(config.student, checkpoint)
    batches = loader(read_splits(config).test, 512)
    model, batches = accelerator.prepare(model, batches)
    return evaluate_classifier(model, batches, accelerator)


def predict(
    checkpoint: str, images: list[str], data_path: str = "", device: str = "auto"
) -> list[dict[str, Any]]:
    """Return a record for each image file: its class and the probability.

    Raises:
        UserError: if the checkpoint or an image cannot be read.
    """
    config = _config_of_checkpoint(checkpoint, data_path, device)
    model = create_model(config.student, checkpoint)
    return predict_images(model, read_splits(config), [Path(image) for image in images])


def _config_of_checkpoint(checkpoint: str, data_path: str, device: str) -> ClassificationConfig:
    metadata = read_metadata(checkpoint)
    if "recipe" not in metadata:
        raise UserError(f"{checkpoint} does not say which recipe trained it; it is not ours.")
    values = json.loads(metadata["recipe"]) | {"device": device}
    config = config_of(values | ({"data_path": data_path} if data_path else {}))
    assert isinstance(config, ClassificationConfig)
    return config
