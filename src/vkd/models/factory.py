"""Networks by name, with their weights: ours, timm's, and those of all other sources."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from vkd.errors import FieldError, RunError, UserError, reason_of, shortened
from vkd.inputs import InputFormat, inputs_of
from vkd.models.checkpoints import Checkpoint, as_checkpoint, load_checkpoint
from vkd.models.sources.catalogue import problem_of, resolved, source_of
from vkd.models.sources.source import CONFIG, NamesLayer, Options
from vkd.models.sources.timm import our_models as our_models
from vkd.network_names import parse
from vkd.notes import say

HUB = "hub"
_log = logging.getLogger("vkd")
_TIMMS_LAST = ("features", "final_conv", "norm")


def check_name(name: str, argument: str = "") -> None:
    """Raise a UserError, about ``argument`` if given, if there is no network ``name``.

    No code of the network is run, and nothing is fetched.
    """
    if problem := problem_of(name):
        text = problem if problem.endswith((".", "?")) else f"{problem}."
        raise (
            FieldError(argument, f": {text}") if argument else UserError(text[0].upper() + text[1:])
        )


def create_model(
    name: str, checkpoint: str | Path | Checkpoint | None = None, **kwargs: Any
) -> nn.Module:
    """Build a network by its name, with the weights of ``checkpoint`` if given.

    What the weights say of the network (classes, channels, size, and all that shapes a detector) is
    followed, unless ``kwargs`` say otherwise.

    Args:
        name: NAME of ours or timm's, ``timm/NAME``, ``torchvision/NAME``, ``hf/OWNER/NAME`` or
            ``hf/FOLDER`` of transformers, ``FILE.py:FUNCTION`` (which runs the file), or a run
            folder or weights file that says which model it is of, and is its checkpoint.
        checkpoint: weights file or run folder, see ``load_checkpoint``; a checkpoint that was
            read; or ``hub`` for the weights that the source publishes.
        **kwargs: passed to the network, by timm's names: ``num_classes`` (0 for a network that
            gives pooled features (N, D)), ``in_chans``, ``img_size`` and what a source has of its
            own.

    Raises:
        UserError: for an unknown name, or a checkpoint that does not fit or is not published.
        RunError: if the hub cannot be reached.
    """
    if parse(name).source != "hugging_face":
        check_name(name)
    name, checkpoint = resolved(name, checkpoint)
    read = as_checkpoint(checkpoint) if checkpoint and checkpoint != HUB else None
    # What a checkpoint tells all of need not be found by its name.
    if read is None or CONFIG not in read.options:
        check_name(name)
    source, own = source_of(name)
    if checkpoint == HUB:
        return _with_features(source.published(own, kwargs), name, kwargs)
    if read is None:
        return _with_features(_built(name, kwargs), name, kwargs)
    stored = source.stored(own, read)
    model = _with_features(_built(name, stored | kwargs, read), name, kwargs)
    if kwargs.get("num_classes") == 0:
        read = _without_classifier(model, name, read, stored)
    return load_checkpoint(model, read)


def published_config(model: str | nn.Module) -> Mapping[str, Any]:
    """Return what is published of a network's inputs, as timm's ``pretrained_cfg``; empty if not.

    Args:
        model: a network, or a name; a name of Hugging Face's may be looked up on the hub.
    """
    if isinstance(model, nn.Module):
        return inputs_of(model)
    name, checkpoint = resolved(model, None)
    if isinstance(checkpoint, Checkpoint) and checkpoint.inputs:
        return _as_published(InputFormat.from_dict(checkpoint.inputs))
    source, own = source_of(name)
    return source.inputs(own)


def fitting_options(name: str, shape: tuple[int, ...], num_classes: int) -> Options:
    """Return the keyword arguments that fit a classifier to images (C, H, W) and classes.

    One of timm's that takes any size gets none.
    """
    source, own = source_of(resolved(name, None)[0])
    return source.fitting(own, shape, num_classes)


def last_layer(model: nn.Module) -> str:
    """Return the name of the layer with the last features before pooling and classifier.

    Raises:
        UserError: if it is not known; name the layer then.
    """
    if isinstance(model, NamesLayer):
        return model.default_layer
    children = dict(model.named_children())
    for name in _TIMMS_LAST:
        if name in children:
            return name
    known: Any = getattr(model, "feature_info", None)  # timm's own list, which not all models have
    if known:
        return known[-1]["module"]
    raise UserError(f"{type(model).__name__} has no last layer that is known by name; name one.")


def told_last_layer(model: nn.Module, role: str) -> str:
    """Return the last layer of a network, and say for ``role`` which one that is.

    Raises:
        UserError: if it is not known; name the layer then.
    """
    layer = last_layer(model)
    say(role, [f"no layer is named, so its features are those of {layer!r}"])
    return layer


def _as_published(inputs: InputFormat) -> dict[str, Any]:
    """An input format as timm's configs have it, of the size that a run was trained at."""
    size = {} if inputs.size is None else {"input_size": (inputs.channels, *inputs.size)}
    return size | {
        "mean": inputs.mean,
        "std": inputs.std,
        "crop_pct": inputs.crop,
        "interpolation": inputs.interpolation,
        "fixed_input_size": inputs.size is not None,
    }


def _built(name: str, options: Options, checkpoint: Checkpoint | None = None) -> nn.Module:
    """A network, as a checkpoint's weights and metadata ask for it where there is one."""
    source, own = source_of(name)
    try:
        return source.build(own, options)
    except (UserError, RunError, MemoryError):
        raise
    # What a network makes of odd sizes is of no fixed kind.
    except Exception as error:
        shown = [f"{option} {value}" for option, value in options.items() if option != CONFIG]
        asked = ", ".join(shown)
        if checkpoint is None:
            raise UserError(
                f"{shortened(name, 100)} cannot be built with {shortened(asked, 90) or 'nothing'}: "
                f"{reason_of(error)}."
            ) from error
        owner = checkpoint.model_name
        raise UserError(
            f"{shortened(checkpoint.file, 100)} holds weights {f'of {owner}, ' if owner else ''}"
            f"with which no {shortened(name, 40)} can be built ({shortened(asked, 60)}): "
            f"{shortened(reason_of(error), 60)}."
        ) from None


def _with_features(model: nn.Module, name: str, options: Options) -> nn.Module:
    """Return a network that was asked for features, if it gives any."""
    if options.get("num_classes") == 0 and any(
        isinstance(module, nn.Linear) and not module.out_features for module in model.modules()
    ):
        raise UserError(
            f"{shortened(name, 150)} has a layer without outputs with num_classes=0; it must "
            "return pooled features (N, D) then."
        )
    return model


def _without_classifier(
    model: nn.Module, name: str, read: Checkpoint, stored: Options
) -> Checkpoint:
    """A checkpoint without the weights of a classifier that ``model`` lacks, and nothing else."""
    state = read.fitted(model.state_dict()).state
    beside = state.keys() - model.state_dict().keys()
    if not beside or not stored.get("num_classes"):
        return read
    heads = beside & _built(name, stored, read).state_dict().keys()
    if heads != beside:
        return read  # of another network; loading it says so
    # What was asked for, and so no warning.
    _log.info("%s: its classifier (%s) is left out.", read.file, ", ".join(sorted(heads)))
    kept = {key: value for key, value in state.items() if key not in heads}
    return replace(read, state=kept, stored=kept, prefix="")
