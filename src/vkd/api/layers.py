"""The layers of a model by name, for ``vkd layers``."""

import torch

from vkd.errors import FieldError, UserError, reason_of
from vkd.features import LayerShape, layers
from vkd.models.factory import create_model, last_layer, published_config
from vkd.ranges import LARGEST_SIDE, require_range

_MOST_CHANNELS = 4096


def model_layers(
    name: str, side: int = 0, channels: int = 0
) -> tuple[list[LayerShape], str | None]:
    """Return the layers of a network, with the shapes of their outputs for two images, and the one
    that is compared by default; None where that is not known.

    Args:
        name: as ``create_model`` takes it.
        side: of the images in pixels; 0 for the size that the model was published with.
        channels: of the images; 0 likewise.

    Raises:
        UserError: for an unknown name.
        FieldError: if the model does not take images of that size.
    """
    require_range("input_size", side, 0, LARGEST_SIDE)
    require_range("channels", channels, 0, _MOST_CHANNELS)
    model = create_model(name)
    depth, height, width = published_config(model).get("input_size") or (3, 224, 224)
    shape = (2, channels or depth, side or height, side or width)
    try:
        found = layers(model, torch.zeros(shape))
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise FieldError(
            "input_size", f": {name} does not take images {shape}: {reason_of(error)}."
        ) from None
    try:
        return found, last_layer(model)
    except UserError:
        return found, None
