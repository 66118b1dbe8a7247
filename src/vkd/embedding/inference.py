"""Using a trained student: its measures, embeddings of picture files, and its export."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from PIL import Image
from torch import Tensor

from vkd.data.images import Splits
from vkd.data.transforms import evaluation_transform
from vkd.embedding.config import EmbeddingConfig
from vkd.embedding.data import read_probe, read_splits
from vkd.embedding.embedder import Embedder, input_format, student_of
from vkd.embedding.evaluation import Evaluation
from vkd.embedding.files import check_target, write_embeddings
from vkd.embedding.mixed_measures import mixed_measures
from vkd.embedding.projections import saved_matrix
from vkd.embedding.spec import EmbeddingEvaluation, EmbeddingPrediction
from vkd.embedding.task import check_student
from vkd.embedding.teachers import network_teacher
from vkd.errors import FieldError, RunError, UserError
from vkd.inputs import InputFormat
from vkd.models.checkpoints import Checkpoint
from vkd.models.cost import model_cost
from vkd.models.factory import HUB
from vkd.network_names import is_code
from vkd.notes import say
from vkd.teacher import Teacher
from vkd.training.task import Exported, Objects


def evaluate(
    config: EmbeddingConfig,
    checkpoint: Checkpoint,
    accelerator: Accelerator,
    options: EmbeddingEvaluation,
    objects: Objects,
) -> dict[str, float]:
    """Return the measures of a checkpoint on the test pictures, and its cost.

    Those beside the teacher are there where it is at hand: similarity, its own values, and mixed
    retrieval by the projection that was trained beside the student.

    Raises:
        UserError: if the checkpoint does not fit, or there is neither a teacher nor a probe.
    """
    if options.probe_path:
        config = replace(config, probe_path=options.probe_path)
    splits: Splits = objects.data or read_splits(config, input_format(config, checkpoint, objects))
    if splits.readers and "test" not in splits.readers:
        say(config.data_path, ["evaluated on the validation split, as there is no test split"])
    model = student_of(config, checkpoint, objects)
    example = torch.zeros(2, *splits.shape)
    check_student(model, config, example)
    probe = read_probe(config, splits)
    teacher = teacher_at_hand(config, checkpoint, options.teacher_checkpoint, splits.format)
    if probe is None and teacher is None:
        raise FieldError("probe_path", "is needed where no teacher is at hand to compare with.")
    evaluation = Evaluation(config, splits, probe, teacher, is_test=True)
    cost = model_cost(model, example[:1])
    metrics = evaluation(accelerator.prepare(model).eval(), accelerator)
    if evaluation.student_probe is not None and evaluation.teacher_probe is not None:
        matrix = saved_matrix(checkpoint, evaluation.student_probe.index.features.shape[1])
        if matrix is not None:
            metrics |= mixed_measures(
                config, evaluation.student_probe, evaluation.teacher_probe, matrix
            )
    return metrics | cost | {"images_per_second": evaluation.images_per_second}


def teacher_at_hand(
    config: EmbeddingConfig,
    checkpoint: Checkpoint,
    stated: str,
    source: InputFormat,
) -> Teacher | None:
    """Return the first teacher of a recipe, if its weights are here; else say what is missing.

    Args:
        config: the recipe.
        checkpoint: of the student, in whose run folder the teacher may lie.
        stated: the weights, where they lie elsewhere than in training; else empty.
        source: how the images that it will see are prepared.
    """
    given = config.objects.get("teacher")
    if given or not config.names_teacher:
        say("teacher", [f"not compared, as it was given as an object ({given})"] if given else [])
        return None
    choice = config.chosen_teachers()[0]
    if is_code(choice.name):
        # What a file of weights names is no request to run it.
        say(choice.name, ["the teacher is not compared, as a file of Python is not run here"])
        return None
    beside = checkpoint.file.parent / "teacher"
    weights = stated or choice.checkpoint
    is_there = weights == HUB or (weights and Path(weights).exists())
    if not stated and not is_there and beside.is_dir():
        weights, is_there = str(beside), True
    if not is_there and not stated:
        missing = f"its weights {weights} are not here" if weights else "no weights are named"
        say(f"teacher {choice.name}", [f"not compared, as {missing}; see teacher_checkpoint"])
        return None
    try:
        return network_teacher(config, replace(choice, checkpoint=weights), source).measured
    except RunError as error:
        say(f"teacher {choice.name}", [f"not compared: {str(error).rstrip('.')}"])
        return None


def predict(
    config: EmbeddingConfig,
    checkpoint: Checkpoint,
    images: list[str],
    options: EmbeddingPrediction,
    objects: Objects,
) -> Iterator[dict[str, Any]]:
    """Yield a record for each picture file: its ``embedding``, or its ``row`` in a file of these.

    A file that cannot be read has an ``error``.

    Raises:
        UserError: if the checkpoint does not fit, or the output is there already.
    """
    if not images:
        raise UserError("IMAGE is required: files to embed.")
    target = Path(options.output) if options.output else None
    if target is not None:
        check_target(target, "output", (".jsonl", ".csv"))
    embedder = Embedder.of(config, checkpoint, objects)
    if target is None:
        return _records(embedder, images, options.batch_size)
    return _written(embedder, images, options.batch_size, target)


def _records(embedder: Embedder, images: list[str], batch_size: int) -> Iterator[dict[str, Any]]:
    for names, features, errors in embedder.answer(images, batch_size):
        for file, reason in errors.items():
            yield {"image": file, "error": reason}
        for name, row in zip(names, features.tolist(), strict=True):
            yield {"image": name, "embedding": row}


def _written(
    embedder: Embedder, images: list[str], batch_size: int, target: Path
) -> Iterator[dict[str, Any]]:
    """Write all embeddings, and then yield which row is whose."""
    rows: list[str] = []
    failed: dict[str, str] = {}

    def batches() -> Iterator[tuple[list[str], Tensor]]:
        for names, features, errors in embedder.answer(images, batch_size):
            failed.update(errors)
            rows.extend(names)
            yield names, features
        if not rows:
            # Here, so that no empty file is left.
            raise UserError(next(iter(failed.values())))

    write_embeddings(target, batches(), embedder.width)
    for file, reason in failed.items():
        yield {"image": file, "error": reason}
    for number, name in enumerate(rows):
        yield {"image": name, "row": number}


def export_inputs(
    config: EmbeddingConfig, checkpoint: Checkpoint, size: tuple[int, int], objects: Objects
) -> Exported:
    """Return the student with its input format.

    Args:
        config: the recipe that the checkpoint belongs to.
        checkpoint: the weights.
        size: (height, width) of the images; 0 for that of training.
        objects: the student, where it is given as an object.
    """
    inputs = input_format(config, checkpoint, objects)
    usual = cast(tuple[int, int], inputs.size)
    height, width = (given or own for given, own in zip(size, usual, strict=True))
    shape = (inputs.channels, height, width)
    model = student_of(config, checkpoint, objects)
    sized = replace(inputs, size=(height, width))
    transform = evaluation_transform(sized)

    def prepare(pictures: Sequence[Image.Image]) -> dict[str, Tensor]:
        return {"images": torch.stack([transform(picture) for picture in pictures])}

    metadata = {"inputs": json.dumps(sized.as_dict() | {"shape": shape})}
    examples = {"images": torch.zeros(2, *shape)}
    return Exported(model, examples, ["embeddings"], metadata, prepare)
