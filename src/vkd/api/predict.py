"""``vkd.predict``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from vkd.api.checkpoints import checkpoint_with_recipe, options_from
from vkd.errors import UserError
from vkd.tasks import task_of
from vkd.training.spec import resolve
from vkd.training.task import Objects


def predict(
    checkpoint: str,
    images: Sequence[str | Path] = (),
    recipe: str = "",
    *,
    student: nn.Module | None = None,
    **options: Any,
) -> list[dict[str, Any]]:
    """Return a record for each image file, or for each image that is generated.

    Args:
        checkpoint: weights file or run folder.
        images: files; none for a generator.
        recipe: name or file, where the checkpoint does not name its own.
        student: your own network, where the run was trained with one.
        **options: of the task's own prediction, for example ``threshold``.

    Raises:
        UserError: if the checkpoint or an image cannot be read.
    """
    objects = Objects(student=student)
    read, config, rest = checkpoint_with_recipe(
        checkpoint, recipe, objects, options, lambda spec: spec.predict_options
    )
    spec = task_of(config)
    if spec.predict is None:
        raise UserError(f"Models of {spec.name} cannot predict.")
    settings = options_from(spec.predict_options, rest, spec.name)
    return resolve(spec.predict)(config, read, [str(file) for file in images], settings, objects)
