"""``vkd.predict``."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from vkd.api.checkpoints import (
    checkpoint_with_recipe,
    options_from,
    refuse_options_of_others,
    with_network,
)
from vkd.data.prediction import list_pictures
from vkd.data.record_files import SUFFIXES, check_target, written
from vkd.errors import UserError
from vkd.tasks import task_of
from vkd.training.spec import resolve
from vkd.training.task import Objects


def predict(
    checkpoint: str,
    images: Sequence[str | Path] = (),
    recipe: str = "",
    *,
    student: str | nn.Module | None = None,
    **options: Any,
) -> list[dict[str, Any]]:
    """Return a record for each image file, or for each image that is generated.

    A file that cannot be read has a record with its ``error``.

    Args:
        checkpoint: weights file, run folder or exported ``.onnx`` file.
        images: files, folders or patterns; none for a generator.
        recipe: name or file, where the checkpoint does not name its own.
        student: your own network, where the run was trained with one; or its name, as for
            ``vkd.evaluate``.
        **options: of the task's own prediction, for example ``threshold``; an ``output`` that ends
            in .jsonl or .csv is a new file for the records.

    Raises:
        UserError: if the checkpoint, or not one of the images, can be read.
    """
    return list(each_prediction(checkpoint, images, recipe, student=student, **options))


def each_prediction(
    checkpoint: str,
    images: Sequence[str | Path] = (),
    recipe: str = "",
    *,
    student: str | nn.Module | None = None,
    **options: Any,
) -> Iterator[dict[str, Any]]:
    """Return the records of ``predict`` one by one, each as soon as it is known."""
    output = Path(options.get("output") or "")
    is_table = output.suffix in SUFFIXES
    if is_table:
        check_target(output)
        options["output"] = ""
    if isinstance(student, str):
        options["student"], student = student, None
    objects = Objects(student=student)
    read, config, rest = checkpoint_with_recipe(
        checkpoint, recipe, objects, options, lambda spec: spec.predict_options
    )
    spec = task_of(config)
    if spec.predict is None:
        raise UserError(f"Models of {spec.name} cannot predict.")
    refuse_options_of_others(options, spec, lambda spec: spec.predict_options)
    settings = options_from(spec.predict_options, rest, spec.name)
    files = list_pictures([str(file) for file in images])
    records = resolve(spec.predict)(config, read, files, settings, with_network(objects, read))
    return answered(written(records, output) if is_table else records)


def answered(records: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the records; the first error is raised where there is nothing else."""
    errors: list[dict[str, Any]] = []
    is_answered = False
    for record in records:
        if not is_answered and "error" in record:
            errors.append(record)
            continue
        yield from errors if not is_answered else ()
        is_answered = True
        yield record
    if errors and not is_answered:
        raise UserError(errors[0]["error"])
