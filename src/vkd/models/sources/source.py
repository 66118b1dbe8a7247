"""What builds the networks of one source, and what such a network says of itself."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import nn

from vkd.models.checkpoints import Checkpoint

Options = dict[str, Any]
# The option that holds, as JSON, all that a network of Hugging Face is built from.
CONFIG = "config"


@dataclass(frozen=True, kw_only=True)
class Source:
    """Networks by their names within the source.

    Options are called as timm calls them: ``num_classes`` (0 for pooled features (N, D)),
    ``in_chans``, ``img_size``, ``drop_path_rate``.

    Attributes:
        problem: what is wrong with a name, as the rest of a sentence; empty if nothing is. Runs no
            code of the network.
        build: the network of a name and options, with random weights.
        published: the same with its published weights; raises ``UserError`` where there are none,
            and ``RunError`` where they cannot be reached.
        inputs: what is published of a name's inputs, as timm's ``pretrained_cfg``.
        fitting: options that fit a network to images (C, H, W) and a number of classes.
        stored: options with which a network fits a checkpoint.
    """

    problem: Callable[[str], str]
    build: Callable[[str, Options], nn.Module]
    published: Callable[[str, Options], nn.Module]
    inputs: Callable[[str], Mapping[str, Any]]
    fitting: Callable[[str, tuple[int, ...], int], Options]
    stored: Callable[[str, Checkpoint], Options]


@runtime_checkable
class NamesLayer(Protocol):
    """A network that names the layer with its last features before pooling.

    Attributes:
        default_layer: as ``vkd.features.FeatureTap`` takes it.
    """

    default_layer: str


def fitting_all(own: str, shape: tuple[int, ...], num_classes: int) -> Options:
    """Return all options that can fit a network to images (C, H, W) and classes."""
    return {"num_classes": num_classes, "in_chans": shape[0], "img_size": shape[1]}


def stored_options(own: str, checkpoint: Checkpoint) -> Options:
    """Return the options that a checkpoint's metadata tell, as runs write them."""
    if checkpoint.options:
        return dict(checkpoint.options)
    shape = checkpoint.inputs.get("shape")
    if shape and checkpoint.classes:
        return fitting_all(own, tuple(shape), len(checkpoint.classes))
    return {}
