"""``vkd.evaluate``."""

from typing import Any

from torch import nn

from vkd.api.checkpoints import (
    checkpoint_with_recipe,
    options_from,
    refuse_options_of_others,
    with_network,
)
from vkd.tasks import task_of
from vkd.training.accelerator import make_accelerator
from vkd.training.reading import watching_workers
from vkd.training.spec import resolve
from vkd.training.task import Objects


@watching_workers()
def evaluate(
    checkpoint: str,
    recipe: str = "",
    *,
    student: str | nn.Module | None = None,
    data: Any = None,
    **changes: Any,
) -> dict[str, float]:
    """Return the test metrics of a checkpoint, a weights file or run folder.

    Beside the task's metrics: ``parameters`` and multiply-adds (``macs``) of the model and
    ``images_per_second`` of this evaluation, data loading included.

    Args:
        checkpoint: weights file, run folder or exported ``.onnx`` file.
        recipe: name or file, where the checkpoint does not name its own.
        student: your own network, where the run was trained with one; or a name, where the recipe
            names another, or one in a file of Python, which runs only where you name it.
        data: your own splits, likewise.
        **changes: fields of the recipe to change, for example ``data_path``, and options of the
            task's own evaluation.

    Raises:
        UserError: if it is not a checkpoint, or not one of the recipe's model.
    """
    if isinstance(student, str):
        changes["student"], student = student, None
    objects = Objects(student=student, data=data)
    read, config, options = checkpoint_with_recipe(
        checkpoint,
        recipe,
        objects,
        changes,
        lambda spec: spec.evaluate_options,
        needs=("student", "data"),
    )
    spec = task_of(config)
    refuse_options_of_others(changes, spec, lambda spec: spec.evaluate_options)
    settings = options_from(spec.evaluate_options, options, spec.name)
    accelerator, objects = make_accelerator(config), with_network(objects, read)
    return resolve(spec.evaluate)(config, read, accelerator, settings, objects)
