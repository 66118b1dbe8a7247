"""A checkpoint together with the recipe that it belongs to."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from vkd.config import TrainingConfig
from vkd.errors import FieldError, UserError, shortened
from vkd.models.checkpoints import Checkpoint, as_checkpoint, read_exported_network
from vkd.recipe import changed, read_recipe, require_code_named, saved_config
from vkd.recipe_values import RecipeFields
from vkd.tasks import TASKS
from vkd.training.spec import TaskSpec
from vkd.training.task import Objects


def checkpoint_with_recipe(
    checkpoint: str | Checkpoint,
    recipe: str,
    objects: Objects,
    changes: Mapping[str, Any],
    own: Callable[[TaskSpec], type],
    needs: tuple[str, ...] = ("student",),
) -> tuple[Checkpoint, TrainingConfig, dict[str, Any]]:
    """Return a checkpoint, its config with ``changes``, and what of these are a step's options.

    Args:
        checkpoint: weights file, run folder or exported ``.onnx`` file, or a checkpoint that was
            read.
        recipe: name or file, where the checkpoint does not name its own.
        objects: given in place of what the recipe cannot build.
        changes: fields of the recipe, and options.
        own: the dataclass of the step's options, of a task.
        needs: roles that the step cannot do without, where the run was given objects for them.

    Raises:
        UserError: if neither the checkpoint nor ``recipe`` says, an object is missing, or a network
            is in a file of Python that only the checkpoint or recipe names.
    """
    read = _read(checkpoint)
    values = read_recipe(recipe) if recipe else _own_recipe(read)
    values = values.with_values(asdict(saved_config(values)))
    if read.network is not None:
        needs = tuple(role for role in needs if role != "student")
    _check_objects(read, values["objects"], objects, needs)
    names = {item.name for item in fields(own(TASKS[values["task"]]))}
    options = {name: value for name, value in changes.items() if name in names}
    rest = {name: value for name, value in changes.items() if name not in names}
    unknown = [name for name in rest if name not in values]
    if unknown:
        raise FieldError(unknown[0], f"has no meaning for {values['task']}.")
    if objects.data is not None:
        rest["objects"] = values["objects"] | {"data": objects.given()["data"]}
    fields_now = changed(values, rest)
    config = saved_config(fields_now)
    # Of a network that is given as an object or in an exported file, and of teachers, nothing is
    # built.
    unbuilt = {
        "teacher",
        "teachers",
        *objects.given(),
        *(["student"] if read.network is not None else []),
    }
    roles = config.model_names().items()
    named = {role: name for role, name in roles if role.partition("[")[0] not in unbuilt}
    require_code_named(fields_now, named)
    return read, config, options


def with_network(objects: Objects, checkpoint: Checkpoint) -> Objects:
    """Return objects with the network of an exported file, which nothing builds, as the student.

    Raises:
        FieldError: if a student is given beside it.
    """
    if checkpoint.network is None:
        return objects
    if objects.student is not None:
        raise FieldError(
            "student", f"has no meaning with {checkpoint.file}, which holds a network."
        )
    return replace(objects, student=checkpoint.network)


def _read(checkpoint: str | Checkpoint) -> Checkpoint:
    if not isinstance(checkpoint, Checkpoint) and Path(checkpoint).suffix == ".onnx":
        return read_exported_network(checkpoint)
    return as_checkpoint(checkpoint)


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
        saved_config(found)
    except UserError as error:
        text = f"{file}: its metadata recipe cannot be used: {error}"
        raise UserError(shortened(text, 300)) from None
    return RecipeFields(found, str(checkpoint.file))


def _check_objects(
    checkpoint: Checkpoint, recorded: dict[str, str], objects: Objects, needs: tuple[str, ...]
) -> None:
    given, file = objects.given(), shortened(checkpoint.file, 120)
    for role in needs:
        if role in recorded and role not in given:
            raise UserError(
                f"{file} was trained with a {role} given as a Python object "
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


def refuse_options_of_others(
    given: Iterable[str], spec: TaskSpec, own: Callable[[TaskSpec], type]
) -> None:
    """Raise ``FieldError`` for an option of other tasks' step, which would change nothing of this
    task's, even where a field of its recipe has the same name.

    Args:
        given: names of fields and options.
        spec: the task.
        own: the dataclass of the step's options, of a task.
    """
    known = {item.name for item in fields(own(spec))}
    others = {item.name for other in TASKS.values() for item in fields(own(other))} - known
    for name in given:
        if name in others:
            raise FieldError(name, f"has no meaning for {spec.name} here.")
