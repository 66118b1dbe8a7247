"""Recipe files: YAML by name or path, to configs."""

import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, get_type_hints

from vkd.config import DistillationConfig, TrainingConfig
from vkd.errors import FieldError, UserError, flag_of, nearest
from vkd.methods.catalogue import NO_METHOD, method_entry
from vkd.network_names import is_code, is_run
from vkd.recipe_values import RecipeFields, read_lines, typed
from vkd.tasks import TASKS

RECIPES = Path(__file__).parent / "recipes"
# Fields that belong to the network that a recipe names for a role, and not to another.
_OF_NETWORKS = {"student": ("student_layer",), "teacher": ("teacher_layer", "teacher_recipe")}
# Networks that a recipe trains where they have no weights.
_FROZEN = ("teacher", "extractor")
_log = logging.getLogger("vkd")


def recipe_names() -> list[str]:
    """Return the names of the recipes in the package."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def recipe_summary(name: str) -> str:
    """Return the first line of a recipe, which says what it is for."""
    return (RECIPES / f"{name}.yaml").read_text().splitlines()[0].lstrip("# ")


def recipe_file(name: str) -> Path:
    """Return the file of a recipe, given by name or as the path of a YAML file.

    Raises:
        UserError: for an unknown name.
    """
    if name in recipe_names():
        return RECIPES / f"{name}.yaml"
    path = Path(name)
    if path.suffix in (".yaml", ".yml") and os.path.lexists(path):
        return path
    is_folder = os.path.isdir(name)
    hint = "; a recipe is a YAML file." if is_folder else nearest(name, recipe_names())
    raise UserError(f"There is no recipe {name!r}{hint}")


def read_recipe(name: str) -> RecipeFields:
    """Return the fields of a recipe, given by name or as the path of a YAML file.

    Raises:
        UserError: for an unknown name, an unreadable file, or a field that its task does not have.
    """
    path = recipe_file(name)
    found = read_lines(path)
    if path.parent == RECIPES:  # nobody's to mend: arguments and flags change it
        found = RecipeFields(found)
    return known_fields(found, str(path))


def known_fields(values: Mapping[str, Any], source: str) -> RecipeFields:
    """Return recipe fields under today's names, of their fields' types.

    Args:
        values: the fields, ``task`` among them.
        source: where they stand, for messages about what has no place of its own.

    Raises:
        UserError: if the task has no such field, or it does not take the value.
    """
    given = values if isinstance(values, RecipeFields) else RecipeFields(values)
    kind = _task_of(given, source)
    with given.in_place():
        renamed, notes = kind.upgraded(dict(given))
    for note in notes:
        _log.info("%s: %s.", source, note)
    known = get_type_hints(kind)
    names = [item.name for item in fields(kind)]
    found = given.with_values(renamed, kind.FORMER)
    with found.in_place():
        for key, value in renamed.items():
            if key not in names:
                where = f"{found.place_of(key)}:" if key in found.lines else source
                raise UserError(f"{where} has an unknown field {key!r}{nearest(str(key), names)}")
            try:
                found[key] = typed(value, known[key])
            except ValueError as error:
                raise FieldError(key, str(error)) from None
    return found


def _task_of(values: RecipeFields, source: str) -> type[TrainingConfig]:
    """The config of the task that a recipe names."""
    task = values.get("task")
    if isinstance(task, str) and task in TASKS:
        return TASKS[task].config
    if "task" not in values:
        raise UserError(f"{source} must have a field task, one of {', '.join(TASKS)}.")
    with values.in_place():
        found = repr(task)[:80]
        hint = nearest(str(task)[:80], TASKS)
        raise FieldError("task", f"must be one of {', '.join(TASKS)}, found {found}{hint}")


def config_of(values: Mapping[str, Any]) -> TrainingConfig:
    """Return the config of a recipe's fields, whose networks may be built.

    Raises:
        UserError: for a field that the task does not have, a value that it does not take, or a
            network that ``require_code_named`` refuses.
    """
    config = saved_config(values)
    require_code_named(values, config.model_names())
    return config


def saved_config(values: Mapping[str, Any]) -> TrainingConfig:
    """Return the config of a recipe's fields to read and compare, whose networks are not built.

    Raises:
        UserError: as ``config_of``, but for networks.
    """
    found = known_fields(values, "The recipe")
    with found.in_place():
        return TASKS[found["task"]].config(**found)


def saved_recipe(file: str) -> TrainingConfig:
    """Return the ``saved_config`` of a recipe in a run folder."""
    return saved_config(read_recipe(file))


def require_code_named(values: Mapping[str, Any], names: Mapping[str, str]) -> None:
    """Refuse a network in a file of Python that a recipe or run names, and not the user.

    Args:
        values: fields of a recipe; those that arguments or flags have changed are the user's.
        names: the networks that are to be built, by field.

    Raises:
        FieldError: for the first such network.
    """
    for role, name in names.items():
        # Of several networks in one field each has its place in brackets.
        field = role.partition("[")[0]
        place = values.place_of(field) if isinstance(values, RecipeFields) else ""
        if place and is_code(name):
            raise FieldError(
                field,
                f"is {name[:80]}, a file of Python, which runs only where you name it; give it "
                f"again, as {flag_of(field)} or {field}=... in Python.",
                place[-120:],
            )


def changed(values: Mapping[str, Any], changes: Mapping[str, Any]) -> RecipeFields:
    """Return a recipe's fields with ``changes``.

    Another ``method``, student or teacher brings its own settings; fields that ``changes`` name as
    well come last.

    Raises:
        FieldError: if they name both weights and a recipe of one network.
        UserError: for a field that the task does not have, or a value that it does not take.
    """
    values = known_fields(values, "The recipe")
    task = values["task"]
    changes = known_fields({"task": task, **changes}, "The change")
    for role in _FROZEN:
        if changes.get(f"{role}_checkpoint") and changes.get(f"{role}_recipe"):
            weights = f"{role}_checkpoint"
            raise FieldError(
                f"{role}_recipe",
                f"has no effect beside {weights} ({flag_of(weights)}), whose weights are taken.",
            )
    changes = {name: value for name, value in changes.items() if name != "task"}
    kind = TASKS[task].config
    is_other = "method" in changes and changes["method"] != values.get("method", "vkd")
    if is_other and issubclass(kind, DistillationConfig):
        values = values | method_settings(str(changes["method"]), values, kind)
    return values | network_settings(values, changes, kind) | changes


def network_settings(
    values: Mapping[str, Any], changes: Mapping[str, Any], kind: type[TrainingConfig]
) -> dict[str, Any]:
    """Return the fields that another student or teacher sets in a recipe: its layer is found anew,
    no recipe trains it, and one that brings its weights needs no others."""
    known = {item.name for item in fields(kind)}
    found: dict[str, Any] = {}
    for role, settings in _OF_NETWORKS.items():
        name = str(changes.get(role) or "")
        if name and name != values.get(role):
            found |= {field: "" for field in settings if field in known}
            if is_code(name) or is_run(name):
                found[f"{role}_checkpoint"] = ""
    # One teacher, or several in another field.
    if changes.get("teachers"):
        found |= dict.fromkeys(("teacher", "teacher_checkpoint", *_OF_NETWORKS["teacher"]), "")
    elif changes.get("teacher"):
        found["teachers"] = []
    return {name: value for name, value in found.items() if name in known}


def method_settings(
    name: str, values: Mapping[str, Any], kind: type[DistillationConfig]
) -> dict[str, Any]:
    """Return the fields that distilling by another method sets in a recipe.

    A method of features takes ``feature_weight`` and leaves logits as the recipe has them; one of
    logits takes ``logit_weight`` and compares no features; ``none`` compares nothing.
    """
    known = {item.name for item in fields(kind)}
    if name == NO_METHOD:
        found: dict[str, Any] = {"feature_weight": 0.0, "logit_weight": 0.0}
    else:
        entry = method_entry(name)
        weigh = "feature_weight" if entry.compares == "features" else "logit_weight"
        weight = entry.weight if entry.weight is not None else values.get(weigh) or 1.0
        found = {weigh: weight, "method_options": {}} | dict(entry.fields)
        if entry.compares == "logits":
            found["feature_weight"] = 0.0
    return {key: value for key, value in found.items() if key in known}


def recipe(name: str, **changes: Any) -> TrainingConfig:
    """Return the config of a recipe by name or path, with ``changes`` of its fields.

    Raises:
        UserError: for an unknown name, field or value.
    """
    return config_of(changed(read_recipe(name), changes))


def as_config(given: str | TrainingConfig, changes: Mapping[str, Any]) -> TrainingConfig:
    """Return the config of a recipe by name or path, or a config itself, with ``changes``."""
    if isinstance(given, TrainingConfig):
        return config_of(changed(asdict(given), changes)) if changes else given
    return recipe(given, **changes)
