"""A checkpoint together with the recipe that it belongs to."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from typing import Any

from vkd.config import TrainingConfig
from vkd.errors import FieldError, UserError, shortened
from vkd.models.checkpoints import Checkpoint, read_checkpoint
from vkd.recipe import changed, config_of, read_recipe
from vkd.recipe_values import RecipeFields
from vkd.tasks import TASKS
from vkd.training.spec import TaskSpec
from vkd.training.task import Objects


def checkpoint_with_recipe(
    checkpoint: str,
    recipe: str,
    objects: Objects,
    changes: Mapping[str, Any],
    own: Callable[[TaskSpec], type],
    needs: tuple[str, ...] = ("student",),
) -> tuple[Checkpoint, TrainingConfig, dict[str, Any]]:
    """Return a checkpoint, its config with ``changes``, and what of these are a step's options.

    Args:
        checkpoint: weights file or run folder.
        recipe: name or file, where the checkpoint does not name its own.
        objects: given in place of what the recipe cannot build.
        changes: fields of the recipe, and options.
        own: the dataclass of the step's options, of a task.
        needs: roles that the step cannot do without, where the run was given objects for them.

    Raises:
        UserError: if neither the checkpoint nor ``recipe`` says, or an object is missing.
    """
    read = read_checkpoint(checkpoint)
    values = read_recipe(recipe) if recipe else _own_recipe(read)
    values = values.with_values(asdict(config_of(values)))
    _check_objects(checkpoint, values["objects"], objects, needs)
    names = {item.name for item in fields(own(TASKS[values["task"]]))}
    options = {name: value for name, value in changes.items() if name in names}
    rest = {name: value for name, value in changes.items() if name not in names}
    unknown = [name for name in rest if name not in values]
    if unknown:
        raise FieldError(unknown[0], f"has no meaning for {values['task']}.")
    if objects.data is not None:
        rest["objects"] = values["objects"] | {"data": objects.given()["data"]}
    return read, config_of(changed(values, rest)), options


def _own_recipe(checkpoint: Checkpoint) -> RecipeFields:
    """The recipe that a checkpoint names."""
    file = shortened(checkpoint.file, 120)
    if not checkpoint.recipe:
        raise UserError(
            f"{file} does not say which recipe its model belongs to; give recipe (--recipe), a "
            "name or a file."
        )
    found = RecipeFields(checkpoint.recipe)
    try:
        config_of(found)
    except UserError as error:
        text = f"{file}: its metadata recipe cannot be used: {error}"
        raise UserError(shortened(text, 300)) from None
    return found


def _check_objects(
    checkpoint: str, recorded: dict[str, str], objects: Objects, needs: tuple[str, ...]
) -> None:
    given = objects.given()
    for role in needs:
        if role in recorded and role not in given:
            raise UserError(
                f"{checkpoint} was trained with a {role} given as a Python object "
                f"({recorded[role]}), which no file holds; give it again, as {role}=... in Python."
            )


def options_from(kind: type, values: Mapping[str, Any], task: str) -> Any:
    """Return a step's options as its dataclass.

    Raises:
        FieldError: for one that the task's step does not have.
    """
    known = {item.name for item in fields(kind)}
    for name in values:
        if name not in known:
            raise FieldError(name, f"has no meaning for {task}.")
    return kind(**values)
