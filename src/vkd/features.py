"""Reading features off any network: taps by module name, and pooling to one row per image."""

from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

from torch import Tensor, nn

Pool = Callable[[Tensor], Tensor]


class FeatureTap:
    """Keeps the output of one named submodule of ``model`` until ``take`` fetches it.

    Raises:
        ValueError: if ``model`` has no submodule of that name; the message lists near names.
    """

    def __init__(self, model: nn.Module, layer: str) -> None:
        modules = dict(model.named_modules())
        if layer not in modules or not layer:
            close = get_close_matches(layer, modules, n=5, cutoff=0.4) or list(modules)[1:6]
            raise ValueError(
                f"{type(model).__name__} has no layer {layer!r}; the closest names are: "
                f"{', '.join(close)}."
            )
        self.layer = layer
        self._features: Tensor | None = None
        self._handle = modules[layer].register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self._features = output[0] if isinstance(output, tuple | list) else output

    def take(self) -> Tensor:
        """Return the features of the last forward pass and forget them.

        Raises:
            RuntimeError: if the layer has not run since the last call.
        """
        features, self._features = self._features, None
        if features is None:
            raise RuntimeError(f"The layer {self.layer!r} did not run in the forward pass.")
        return features

    def remove(self) -> None:
        """Detach from the model, which is then as it was before."""
        self._handle.remove()


def pooling(layout: str | Pool = "auto", prefix_tokens: int = 0) -> Pool:
    """Return a function that pools features of a layout to (N, D) by their mean.

    Args:
        layout: ``NCHW`` or ``NHWC`` maps; ``NLC`` tokens; ``token`` for the first token alone;
            ``auto`` to tell from the shape (maps whose equal sides come last are NCHW, whose
            equal sides come first are NHWC); or a function, returned as it is.
        prefix_tokens: class or register tokens at the start of NLC that the mean leaves out.

    Raises:
        ValueError: for an unknown layout, or when ``auto`` cannot tell.
    """
    if callable(layout):
        return layout
    pools: dict[str, Pool] = {
        "NCHW": lambda x: x.mean((2, 3)),
        "NHWC": lambda x: x.mean((1, 2)),
        "NLC": lambda x: x[:, prefix_tokens:].mean(1),
        "token": lambda x: x[:, 0],
        "none": lambda x: x,
    }
    if layout == "auto":
        return lambda x: pools[_layout_of(x)](x)
    if layout not in pools:
        raise ValueError(f"pool must be auto, {', '.join(pools)} or a function, found {layout!r}.")
    return pools[layout]


def _layout_of(features: Tensor) -> str:
    if features.ndim == 2:
        return "none"
    if features.ndim == 3:
        return "NLC"
    if features.ndim == 4:
        _, first, second, third = features.shape
        if second == third and first != second:
            return "NCHW"
        if first == second and second != third:
            return "NHWC"
    raise ValueError(
        f"Cannot tell the layout of features of shape {tuple(features.shape)}; "
        "name it with pool=, for example pool='NCHW'."
    )
