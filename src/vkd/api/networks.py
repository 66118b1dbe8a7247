"""The networks that a run needs and does not train: checked, and trained first where need be."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from vkd.config import FrozenNetwork, TrainingConfig
from vkd.errors import FieldError, UserError
from vkd.models import check_name
from vkd.recipe import config_of, read_recipe, recipe_file
from vkd.recipe_values import RecipeFields


def check_names(config: TrainingConfig) -> None:
    """Raise ``UserError`` for the name of a model that does not exist, before anything is made."""
    for field, name in config.model_names().items():
        check_name(name, field)


def missing_networks(config: TrainingConfig) -> list[FrozenNetwork]:
    """Return the networks that have no checkpoint, and so are trained first.

    Raises:
        FieldError: if one has no recipe either.
    """
    missing = [network for network in config.frozen_networks() if not network.checkpoint]
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
        fields = recipe_of_network(network)
        own = config_of(fields)
        trained = own.model_names().get("student", network.name)
        if trained != network.name:
            raise FieldError(
                field,
                f"{network.recipe} trains {trained}, but the {network.role} is {network.name}.",
            )
        with fields.in_place():
            check_networks(own, (*above, file))


def recipe_of_network(network: FrozenNetwork) -> RecipeFields:
    """Return the fields of the recipe that trains a network."""
    return read_recipe(network.recipe) | dict(network.changes)


def with_checkpoint(config: Any, network: FrozenNetwork, folder: Path) -> Any:
    """Return the config whose network is in ``folder``."""
    return replace(config, **{f"{network.role}_checkpoint": str(folder)})
