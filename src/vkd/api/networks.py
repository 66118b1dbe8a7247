"""The networks that a run needs and does not train: checked, and trained first where need be."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

from vkd.config import FrozenNetwork, TrainingConfig, default_values
from vkd.errors import FieldError, UserError
from vkd.models import HUB, check_name
from vkd.models.sources.run_folder import model_of
from vkd.network_names import is_code, is_run, is_saved_folder, parse
from vkd.notes import say
from vkd.recipe import config_of, read_recipe, recipe_file
from vkd.recipe_values import RecipeFields
from vkd.tasks import TASKS

Config = TypeVar("Config", bound=TrainingConfig)


def check_names(config: TrainingConfig) -> None:
    """Raise ``UserError`` for the name of a model that does not exist, before anything is made."""
    for field, name in config.model_names().items():
        check_name(name, field)


def with_runs_resolved(config: Config) -> Config:
    """Return the config whose networks that are named by a run folder, a weights file or a saved
    folder of Hugging Face have their models' names, and these as checkpoints.

    A checkpoint that is named as well comes first.

    Raises:
        FieldError: if one does not say which model it is of.
    """
    changes: dict[str, Any] = {}
    fields = asdict(config)
    for role, name in config.model_names().items():
        if role not in fields:
            continue  # one of several, which brings its weights when it is built
        field = f"{role}_checkpoint"
        own = fields.get(field)
        if is_run(name):
            check_name(name, role)
            try:
                changes[role] = model_of(parse(name).own)[0]
            except UserError as error:
                raise FieldError(role, f": {error}") from None
            changes |= {field: own or name}
            say(
                name, [f"the {role} is its {changes[role]}" + ("" if own else ", with its weights")]
            )
        elif role != "student" and not own and is_saved_folder(name):
            changes[field] = HUB
            say(name, [f"the {role} has the weights of this folder"])
    return replace(config, **changes) if changes else config


def missing_networks(config: TrainingConfig) -> list[FrozenNetwork]:
    """Return the networks that have no checkpoint, and so are trained first.

    A function in a file of Python may give weights to what it returns, so it needs none.

    Raises:
        FieldError: if one has no recipe either.
    """
    missing = [
        network
        for network in config.frozen_networks()
        if not network.checkpoint and (network.recipe or not is_code(network.name))
    ]
    for network in missing:
        if not network.recipe:
            raise FieldError(
                network.role,
                f"{network.name} needs its weights: give {network.role}_checkpoint a weights file "
                "or run folder.",
            )
    return missing


def check_networks(config: TrainingConfig, above: tuple[Path, ...] = ()) -> None:
    """Check, before anything is made, all networks of a run, and of the runs that train these.

    Args:
        config: of the run.
        above: the recipes that it is trained for.

    Raises:
        UserError: for the name of a model that does not exist, a network that has neither
            checkpoint nor recipe, or a recipe that trains another model, or itself.
    """
    check_names(config)
    for network in missing_networks(config):
        field = f"{network.role}_recipe"
        try:
            file = recipe_file(network.recipe).resolve()
        except UserError as error:
            raise FieldError(field, f": {error}") from None
        if file in above:
            raise FieldError(
                field, f"{network.recipe} trains itself: it needs a network that it trains first."
            )
        # As it stands, since the changes below are those of a recipe for this network.
        own = read_recipe(network.recipe)
        usual = default_values(TASKS[own["task"]].config)["student"]
        trained = str(own.get("student", usual))
        if parse(trained) != parse(network.name):
            raise FieldError(
                field,
                f"{network.recipe} trains {trained}, but the {network.role} is {network.name}.",
            )
        fields = recipe_of_network(network)
        with fields.in_place():
            check_networks(config_of(fields), (*above, file))


def recipe_of_network(network: FrozenNetwork) -> RecipeFields:
    """Return the fields of the recipe that trains a network."""
    return read_recipe(network.recipe) | dict(network.changes)


def with_checkpoint(config: Any, network: FrozenNetwork, folder: Path) -> Any:
    """Return the config whose network is in ``folder``."""
    return replace(config, **{f"{network.role}_checkpoint": str(folder)})
