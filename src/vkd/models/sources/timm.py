"""timm's networks, with which ours are registered."""

from typing import Any

import timm
from torch import nn

from vkd.errors import RunError, UserError, nearest, reason_of
from vkd.models import biggan, deit, small
from vkd.models.checkpoints import Checkpoint
from vkd.models.sources.source import Options, Source
from vkd.models.vidt import variants

_OURS = (biggan, deit, small, variants)


def our_models() -> list[str]:
    """Return the names of the models that this package registers with timm."""
    homes = {module.__name__ for module in _OURS}
    return sorted(
        name for name in timm.list_models() if timm.model_entrypoint(name).__module__ in homes
    )


def _problem(own: str) -> str:
    if timm.is_model(own):
        return ""
    return f"there is no model {own!r}{nearest(own, timm.list_models())}"


def _build(own: str, options: Options) -> nn.Module:
    return timm.create_model(own, **options)


def _published(own: str, options: Options) -> nn.Module:
    if not timm.is_model_pretrained(own):
        raise UserError(f"timm publishes no weights of {own}; name a file instead of hub.")
    # Of addresses alone, whose names end in the file's digest; the hub's files are named by theirs.
    timm.models.set_pretrained_check_hash(True)
    try:
        return timm.create_model(own, pretrained=True, **options)
    except (OSError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "hash" not in str(error):
            raise  # by its options the network is another one than its weights
        raise RunError(
            f"The weights of {own} could not be fetched from the hub: {reason_of(error)}"
        ) from None


def _inputs(own: str) -> dict[str, Any]:
    known = timm.models.get_pretrained_cfg(own, allow_unregistered=True)
    return known.to_dict() if known is not None else {}


def _fitting(own: str, shape: tuple[int, ...], num_classes: int) -> Options:
    """A model that takes any size gets none."""
    options: Options = {"num_classes": num_classes, "in_chans": shape[0]}
    known = timm.models.get_pretrained_cfg(own, allow_unregistered=True)
    if known is not None and known.fixed_input_size and known.input_size[1] != shape[1]:
        options["img_size"] = shape[1]
    return options


def _stored(own: str, checkpoint: Checkpoint) -> Options:
    """By a checkpoint's metadata or its weights."""
    shape = checkpoint.inputs.get("shape")
    fitting = _fitting(own, tuple(shape), len(checkpoint.classes)) if shape else {}
    if checkpoint.classes and fitting:
        return fitting
    if checkpoint.options:
        return checkpoint.options if checkpoint.architecture in ("", own) else {}
    fitting.pop("num_classes", None)
    known = timm.models.get_pretrained_cfg(own, allow_unregistered=True)
    classifier = (known and known.classifier) or "head"
    classifier = classifier if isinstance(classifier, str) else classifier[0]
    first = (known and known.first_conv) or ""
    first = first if isinstance(first, str) else first[0]
    # Of each the axis of its weight that tells a size.
    axes = {f"{classifier}.weight": ("num_classes", 0), f"{first}.weight": ("in_chans", 1)}
    weights = checkpoint.named(axes)
    return fitting | {
        option: weights[key].shape[axis]
        for key, (option, axis) in axes.items()
        if key in weights and weights[key].ndim > axis
    }


SOURCE = Source(
    problem=_problem, build=_build, published=_published, inputs=_inputs, fitting=_fitting,
    stored=_stored,
)  # fmt: skip
