"""The networks that a run needs and does not train: checked, and trained first where need be."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from vkd.config import FrozenNetwork, TrainingConfig
from vkd.errors import FieldError
from vkd.models import check_name
from vkd.recipe import config_of, read_recipe


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


def recipe_of_network(network: FrozenNetwork) -> TrainingConfig:
    """Return the recipe that trains a network."""
    return config_of(read_recipe(network.recipe) | dict(network.changes))


def with_checkpoint(config: Any, network: FrozenNetwork, folder: Path) -> Any:
    """Return the config whose network is in ``folder``."""
    return replace(config, **{f"{network.role}_checkpoint": str(folder)})
