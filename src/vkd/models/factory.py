"""Models by name, ours and timm's, with their weights."""

from pathlib import Path
from typing import Any

import timm
from torch import nn

from vkd.errors import FieldError, RunError, UserError, nearest, reason_of, shortened
from vkd.models import biggan, deit, small
from vkd.models.checkpoints import Checkpoint, as_checkpoint, load_checkpoint
from vkd.models.vidt import variants

HUB = "hub"
_OURS = (biggan, deit, small, variants)


def our_models() -> list[str]:
    """Return the names of the models that this package registers with timm."""
    homes = {module.__name__ for module in _OURS}
    return sorted(
        name for name in timm.list_models() if timm.model_entrypoint(name).__module__ in homes
    )


def check_name(name: str, argument: str = "") -> None:
    """Raise a UserError, about ``argument`` if given, if there is no model ``name``."""
    if not timm.is_model(name):
        text = f"there is no model {name!r}{nearest(name, timm.list_models())}"
        raise FieldError(argument, f": {text}") if argument else UserError(f"T{text[1:]}")


def create_model(
    name: str, checkpoint: str | Path | Checkpoint | None = None, **kwargs: Any
) -> nn.Module:
    """Build a model of `vkd models` or timm, with the weights of ``checkpoint`` if given.

    What the weights say of the model (classes, channels, size, and all that shapes a detector) is
    followed, unless ``kwargs`` say otherwise.

    Args:
        name: the model's name.
        checkpoint: weights file or run folder, see ``load_checkpoint``; a checkpoint that was
            read; or ``hub`` for the weights that timm publishes.
        **kwargs: passed to the model, for example ``num_classes`` or ``img_size``.

    Raises:
        UserError: for an unknown name, or a checkpoint that does not fit or is not published.
        RunError: if the hub cannot be reached.
    """
    check_name(name)
    if checkpoint == HUB:
        return _from_hub(name, kwargs)
    if not checkpoint:
        return _built(name, kwargs)
    read = as_checkpoint(checkpoint)
    return load_checkpoint(_built(name, _options_in(name, read) | kwargs, read), read)


def published_config(model: str | nn.Module) -> dict[str, Any]:
    """Return what is published of a model's inputs, as timm's ``pretrained_cfg``; empty if not."""
    if isinstance(model, nn.Module):
        return getattr(model, "pretrained_cfg", None) or {}  # timm's models have it, others not
    known = timm.models.get_pretrained_cfg(model, allow_unregistered=True)
    return known.to_dict() if known is not None else {}


def fitting_options(name: str, shape: tuple[int, ...], num_classes: int) -> dict[str, Any]:
    """Return the keyword arguments that fit a classifier to images (C, H, W) and classes.

    A model that takes any size gets none.
    """
    options: dict[str, Any] = {"num_classes": num_classes, "in_chans": shape[0]}
    known = timm.models.get_pretrained_cfg(name, allow_unregistered=True)
    if known is not None and known.fixed_input_size and known.input_size[1] != shape[1]:
        options["img_size"] = shape[1]
    return options


def _built(name: str, options: dict[str, Any], checkpoint: Checkpoint | None = None) -> nn.Module:
    """A model, as a checkpoint's weights and metadata ask for it where there is one."""
    try:
        return timm.create_model(name, **options)
    except (UserError, MemoryError):
        raise
    # What a model makes of odd sizes is of no fixed kind.
    except Exception as error:
        asked = ", ".join(f"{option} {value}" for option, value in options.items())
        if checkpoint is None:
            raise UserError(
                f"{name} cannot be built with {shortened(asked, 90)}: {reason_of(error)}."
            ) from error
        owner = checkpoint.model_name
        raise UserError(
            f"{shortened(checkpoint.file, 100)} holds weights {f'of {owner}, ' if owner else ''}"
            f"with which no {shortened(name, 40)} can be built ({shortened(asked, 60)}): "
            f"{shortened(reason_of(error), 60)}."
        ) from None


def _options_in(name: str, checkpoint: Checkpoint) -> dict[str, Any]:
    """The keywords that fit a checkpoint, by its metadata or its weights."""
    shape = checkpoint.inputs.get("shape")
    if shape and checkpoint.classes:
        return fitting_options(name, tuple(shape), len(checkpoint.classes))
    if checkpoint.options:
        return checkpoint.options if checkpoint.architecture in ("", name) else {}
    known = timm.models.get_pretrained_cfg(name, allow_unregistered=True)
    classifier = (known and known.classifier) or "head"
    classifier = classifier if isinstance(classifier, str) else classifier[0]
    first = (known and known.first_conv) or ""
    first = first if isinstance(first, str) else first[0]
    # Of each the axis of its weight that tells a size.
    axes = {f"{classifier}.weight": ("num_classes", 0), f"{first}.weight": ("in_chans", 1)}
    weights = checkpoint.named(axes)
    return {
        option: weights[key].shape[axis]
        for key, (option, axis) in axes.items()
        if key in weights and weights[key].ndim > axis
    }


def last_layer(model: nn.Module) -> str:
    """Return the name of the submodule with the last features before pooling and classifier.

    Raises:
        UserError: if it is not known; name the layer then.
    """
    children = dict(model.named_children())
    for name in ("features", "final_conv", "norm"):
        if name in children:
            return name
    known: Any = getattr(model, "feature_info", None)  # timm's own list, which not all models have
    if known:
        return known[-1]["module"]
    raise UserError(f"{type(model).__name__} has no last layer that is known by name; name one.")


def _from_hub(name: str, kwargs: dict[str, Any]) -> nn.Module:
    if not timm.is_model_pretrained(name):
        raise UserError(f"timm publishes no weights of {name}; name a file instead of {HUB}.")
    try:
        return timm.create_model(name, pretrained=True, **kwargs)
    except OSError as error:
        raise RunError(
            f"The weights of {name} could not be fetched from the hub: {reason_of(error)}"
        ) from None
