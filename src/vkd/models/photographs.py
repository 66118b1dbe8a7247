"""How a student takes photographs."""

from dataclasses import replace

from torch import nn

from vkd.inputs import InputFormat
from vkd.models.factory import published_config
from vkd.notes import say


def photograph_format(
    network: str | nn.Module, fallback: InputFormat, side: int, crop: float, told_as: str = ""
) -> InputFormat:
    """Return how a network takes photographs: as it is published, at a size.

    Args:
        network: a network, or its name.
        fallback: where it is not published, or has other channels.
        side: of the photographs in pixels.
        crop: share of a side that is evaluated; 0 for the network's own.
        told_as: the network's name; where it is given, taking ``fallback``, ImageNet's, is said.
    """
    published = InputFormat.from_pretrained_cfg(published_config(network))
    if published is None or published.channels != fallback.channels:
        published = fallback
        if told_as:
            say(
                f"student {told_as}",
                ["it does not say how its photographs are normalised, so they are as ImageNet's"],
            )
    return replace(published, size=(side, side), crop=crop or published.crop)
