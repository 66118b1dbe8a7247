"""What can be found of a network before its weights are read."""

from typing import Any

import torch

from vkd.errors import FieldError, UserError, nearest, reason_of
from vkd.features import layers
from vkd.models.checkpoints import read_checkpoint
from vkd.models.factory import (
    HUB,
    check_name,
    create_model,
    fitting_options,
    last_layer,
    published_config,
)
from vkd.network_names import is_code, is_run, is_saved_folder, parse
from vkd.training.drafting import NetworkFacts


def facts_of(
    role: str, name: str, side: int = 0, taps: bool = True, layer: str = ""
) -> NetworkFacts:
    """Return what is found of a network.

    Args:
        role: student or teacher.
        name: of the network.
        side: of its images; 0 for that which it is published with.
        taps: whether a layer is looked for.
        layer: its name; empty for the last that has features.

    Raises:
        FieldError: if there is no such network, or it does not take such images.
    """
    check_name(name, role)
    published = published_config(name)
    depth, height, _ = published.get("input_size") or (3, 224, 224)
    found: dict[str, Any] = {"name": name, "side": height}
    if taps:
        fixed = bool(published.get("fixed_input_size"))
        # A teacher of one size gets its own; a student is built for that of the recipe.
        shown = height if not side or (fixed and role == "teacher") else side
        found |= _tapped(role, name, (depth, shown, shown), layer)
    return NetworkFacts(**found)


def _tapped(role: str, name: str, shape: tuple[int, int, int], given: str) -> dict[str, Any]:
    options = {key: value for key, value in fitting_options(name, shape, 2).items()
               if key == "img_size"}  # fmt: skip
    network = create_model(name, **options)
    try:
        layer = given or last_layer(network)
    except UserError:  # a task that cannot do without one says so
        layer = ""
    try:
        shapes = {row.name: row.shape for row in layers(network, torch.zeros(2, *shape))}
    except (AssertionError, IndexError, RuntimeError, TypeError, ValueError) as error:
        size = " x ".join(map(str, shape))
        raise FieldError(
            role, f": {name} does not take images of {size}: {reason_of(error)}."
        ) from None
    if given and given not in shapes:
        hint = nearest(given, shapes)
        raise FieldError(f"{role}_layer", f": {given} is no layer of {name} that runs{hint}")
    features = shapes.get(layer)
    rest = features[1:] if isinstance(features, tuple) else ()
    return {"layer": layer, "features": rest}


def usual_weights(name: str) -> str:
    """Return where the weights of a network are that is named alone: the hub, or nowhere else than
    in what it is named by."""
    return "" if is_run(name) or is_code(name) or is_saved_folder(name) else HUB


def weights_of(name: str, checkpoint: str) -> tuple[str, list[str]]:
    """Return the weights that a teacher is taken with, and the classes that they name.

    Args:
        name: of the teacher.
        checkpoint: as given; empty for the usual ones.

    Raises:
        FieldError: if there is no such network, or they are no checkpoint.
    """
    check_name(name, "teacher")
    chosen = checkpoint or usual_weights(name)
    if chosen == HUB or (not chosen and not is_run(name)):
        return chosen, []
    try:
        return chosen, read_checkpoint(chosen or parse(name).own).classes
    except UserError as error:
        raise FieldError("teacher_checkpoint", f": {error}") from None
