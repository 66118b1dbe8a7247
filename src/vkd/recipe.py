"""Recipe files: YAML by name or path, to configs."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, get_type_hints

from vkd.config import DistillationConfig, TrainingConfig
from vkd.errors import FieldError, UserError, nearest
from vkd.methods.catalogue import NO_METHOD, method_entry
from vkd.recipe_values import read_lines, typed
from vkd.tasks import TASKS

RECIPES = Path(__file__).parent / "recipes"
_log = logging.getLogger("vkd")


def recipe_names() -> list[str]:
    """Return the names of the recipes in the package."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def recipe_summary(name: str) -> str:
    """Return the first line of a recipe, which says what it is for."""
    return (RECIPES / f"{name}.yaml").read_text().splitlines()[0].lstrip("# ")


def read_recipe(name: str) -> dict[str, Any]:
    """Return the fields of a recipe, given by name or as the path of a YAML file.

    Raises:
        UserError: for an unknown name, an unreadable file, or a field that its task does not have.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else RECIPES / f"{name}.yaml"
    if not path.is_file():
        raise UserError(f"There is no recipe {name!r}{nearest(name, recipe_names())}")
    values, lines = read_lines(path)
    task = values.get("task")
    if not isinstance(task, str) or task not in TASKS:
        raise UserError(f"{path} must have a field task, one of {', '.join(TASKS)}.")
    return known_fields(values, str(path), lines)


def known_fields(
    values: Mapping[str, Any], source: str, lines: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """Return recipe fields under today's names, of their fields' types.

    Args:
        values: the fields, ``task`` among them.
        source: where they stand, for the message.
        lines: the line of each field, where they stand in a file.

    Raises:
        UserError: if the task has no such field, or it does not take the value.
    """
    kind = TASKS[values["task"]].config
    values, notes = kind.upgraded(dict(values))
    for note in notes:
        _log.info("%s: %s.", source, note)
    known = get_type_hints(kind)
    names = [item.name for item in fields(kind)]
    for key, value in values.items():
        place = f"{source}, line {lines[key]}:" if lines and key in lines else source
        if key not in names:
            raise UserError(f"{place} has an unknown field {key!r}{nearest(str(key), names)}")
        try:
            values[key] = typed(value, known[key])
        except ValueError as error:
            if lines is None:
                raise FieldError(key, str(error)) from None
            raise UserError(f"{place} {key} {error}") from None
    return values


def config_of(values: Mapping[str, Any]) -> TrainingConfig:
    """Return the config of a recipe's fields.

    Raises:
        UserError: for a field that the task does not have, or a value that it does not take.
    """
    task = values.get("task")
    if not isinstance(task, str) or task not in TASKS:
        raise UserError(f"A recipe needs a task, one of {', '.join(TASKS)}.")
    return TASKS[values["task"]].config(**known_fields(values, "The recipe"))


def changed(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's fields with ``changes``.

    Another ``method`` brings its own settings; fields that ``changes`` name as well come last.
    """
    values = known_fields({**values}, "The recipe")
    changes = known_fields({"task": values["task"], **changes}, "The change")
    kind = TASKS[values["task"]].config
    is_other = "method" in changes and changes["method"] != values.get("method", "vkd")
    if is_other and issubclass(kind, DistillationConfig):
        values |= method_settings(str(changes["method"]), values, kind)
    return values | changes


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
