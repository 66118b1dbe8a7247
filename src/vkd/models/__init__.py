"""Models by name (ours and timm's) and their checkpoints."""

from pathlib import Path
from typing import Any

import timm
from torch import nn

from vkd.errors import RunError, UserError, nearest
from vkd.models import biggan, deit, small, vidt
from vkd.models.checkpoints import (
    architecture_of,
    checkpoint_file,
    load_checkpoint,
    read_metadata,
    read_weights,
)
from vkd.models.vidt.checkpoint import is_vidt

OUR_MODELS = (
    "biggan",
    "cnn_digits",
    "cnn_fashion",
    "conv_vit_digits",
    "conv_vit_fashion",
    "deit_b_distilled",
    "deit_fashion_distilled",
    "deit_s_distilled",
    "deit_ti_distilled",
    *vidt.NAMES,
)
HUB = "hub"
__all__ = [
    "HUB",
    "OUR_MODELS",
    "biggan",
    "check_name",
    "create_model",
    "deit",
    "last_layer",
    "load_checkpoint",
    "read_metadata",
    "small",
    "vidt",
]


def check_name(name: str, flag: str = "") -> None:
    """Raise a UserError, that begins with ``flag``, if there is no model ``name``."""
    if not timm.is_model(name):
        there = f"{flag}: there" if flag else "There"
        raise UserError(f"{there} is no model {name!r}{nearest(name, timm.list_models())}")


def create_model(name: str, checkpoint: str | Path | None = None, **kwargs: Any) -> nn.Module:
    """Build a model of `vkd models` or timm, with the weights of ``checkpoint`` if given.

    Args:
        name: the model's name.
        checkpoint: weights file or run folder, see ``load_checkpoint``; or ``hub`` for the
            weights that timm publishes.
        **kwargs: passed to the model, for example ``num_classes`` or ``img_size``.

    Raises:
        UserError: for an unknown name, or a checkpoint that does not fit or is not published.
        RunError: if the hub cannot be reached.
    """
    check_name(name)
    if checkpoint == HUB:
        return _from_hub(name, kwargs)
    if not checkpoint:
        return timm.create_model(name, **kwargs)
    kwargs = _options_in(name, checkpoint) | kwargs
    return load_checkpoint(timm.create_model(name, **kwargs), checkpoint)


def _options_in(name: str, checkpoint: str | Path) -> dict[str, Any]:
    """The keywords that a checkpoint tells by its weights: of a detector all that shape it, of a
    classifier ``num_classes``."""
    state = read_weights(checkpoint_file(checkpoint))
    if name == "biggan":
        return biggan.options_of(state)
    if name in vidt.NAMES:
        return architecture_of(state)[1] if is_vidt(state) else {}
    known = timm.models.get_pretrained_cfg(name, allow_unregistered=True)
    classifier = getattr(known, "classifier", None) or "head"
    classifier = classifier if isinstance(classifier, str) else classifier[0]
    weight = state.get(f"{classifier}.weight")
    return {} if weight is None else {"num_classes": len(weight)}


def last_layer(model: nn.Module) -> str:
    """Return the name of the submodule with the last features before pooling and classifier.

    Raises:
        UserError: if the model does not tell; name its layer then.
    """
    for name in ("features", "final_conv", "norm"):
        if isinstance(getattr(model, name, None), nn.Module):
            return name
    known: Any = getattr(model, "feature_info", None)
    if known:
        return known[-1]["module"]
    raise UserError(f"{type(model).__name__} does not tell its last layer; give --teacher-layer.")


def _from_hub(name: str, kwargs: dict[str, Any]) -> nn.Module:
    if not timm.is_model_pretrained(name):
        raise UserError(f"timm publishes no weights of {name}; name a file instead of {HUB}.")
    try:
        return timm.create_model(name, pretrained=True, **kwargs)
    except OSError as error:
        reason = str(error).strip().splitlines()[0]
        raise RunError(
            f"The weights of {name} could not be fetched from the hub: {reason}"
        ) from None
