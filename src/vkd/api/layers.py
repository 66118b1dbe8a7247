"""The layers of a model by name, for ``vkd layers``."""

import torch

from vkd.errors import FieldError, reason_of
from vkd.features import LayerShape, layers
from vkd.models.factory import create_model, published_config


def model_layers(name: str, side: int = 0, channels: int = 0) -> list[LayerShape]:
    """Return the layers of a model, with the shapes of their outputs for two images.

    Args:
        name: of `vkd models` or timm.
        side: of the images in pixels; 0 for the size that the model was published with.
        channels: of the images; 0 likewise.

    Raises:
        UserError: for an unknown name.
        FieldError: if the model does not take images of that size.
    """
    model = create_model(name)
    depth, height, width = published_config(model).get("input_size") or (3, 224, 224)
    shape = (2, channels or depth, side or height, side or width)
    try:
        return layers(model, torch.zeros(shape))
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise FieldError(
            "input_size", f": {name} does not take images {shape}: {reason_of(error)}."
        ) from None
