"""Reading features off any network: taps by module name, and pooling to one row per image."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

Pool = Callable[[Tensor], Tensor]
Inputs = Tensor | list[Any] | tuple[Any, ...] | Mapping[str, Any]

_MOST_LISTED = 6
# What a tap is in a copy of its network: it takes whatever a hook is given, does nothing, and is
# of the standard library, so that a pickled network can be loaded without this package.
_NO_TAP = nullcontext().__exit__


class _Hook:
    """Keeps the last output of a module until it is fetched; only this object does, no copy."""

    def __init__(self) -> None:
        self.output: Any = None

    def __call__(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self.output = output

    def __deepcopy__(self, memo: dict[int, Any]) -> Callable[..., Any]:
        return _NO_TAP

    def __reduce__(self) -> str | tuple[Any, ...]:
        return _NO_TAP.__reduce__()


class NotRunError(RuntimeError):
    """A tapped layer has no output, as it did not run."""


class FeatureTap:
    """Keeps the output of one named submodule of ``model`` until ``take`` fetches it.

    A layer that runs several times in a forward pass keeps its last output.

    The network can be copied and pickled meanwhile: its copy has no tap, and a file of it needs
    nothing of this package. A copy of the tap, as in a copied ``Distiller``, is on the copied
    network.

    Args:
        model: any network.
        layer: name of a submodule as in ``named_modules``; the empty name is the model itself.
            Where the output is no tensor, a key may follow after a colon:
            ``encoder:last_hidden_state``, or ``encoder:0`` for the first part of a tuple.

    Raises:
        ValueError: if ``model`` has no submodule of that name; the message lists near names.
    """

    def __init__(self, model: nn.Module, layer: str) -> None:
        modules = dict(model.named_modules())
        name, key = (layer, "") if layer in modules else _split(layer)
        if name not in modules:
            close = get_close_matches(name, modules, n=5, cutoff=0.4) or list(modules)[1:6]
            raise ValueError(
                f"{type(model).__name__} has no layer {name!r}; the closest names are: "
                f"{', '.join(close) or 'none'}."
            )
        self.layer = layer
        self._key = key
        self._attach(modules[name])

    def _attach(self, module: nn.Module) -> None:
        self._module: nn.Module | None = module
        self._hook = _Hook()
        self._handle = module.register_forward_hook(self._hook)

    def __getstate__(self) -> dict[str, Any]:
        # Without the output: tensors inside an autograd graph can neither be copied nor pickled.
        place = None if self._module is None else self._handle.id
        return {"layer": self.layer, "key": self._key, "module": self._module, "place": place}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.layer, self._key = state["layer"], state["key"]
        self._module, self._hook = None, _Hook()
        if state["module"] is not None:
            # In place of what the copied network has there, see ``_NO_TAP``.
            del state["module"]._forward_hooks[state["place"]]
            self._attach(state["module"])

    def take(self) -> Tensor:
        """Return the features of the last forward pass and forget them.

        Of an output that is no tensor these are the part of the layer's key. Without a key: its
        only tensor; or the first part of a tuple or list; or ``last_hidden_state``.

        Raises:
            NotRunError: if the layer has not run since the last call.
            ValueError: if the output has no such part, or several and no key.
        """
        output, self._hook.output = self._hook.output, None
        if output is None:
            raise NotRunError(f"The layer {self.layer!r} did not run in the forward pass.")
        return _tensor_of(output, self._key, self.layer)

    def remove(self) -> None:
        """Detach from the model, which is then as it was before."""
        if self._module is not None:
            self._handle.remove()
        self._module, self._hook.output = None, None


class LayerShape(NamedTuple):
    """A layer that ran.

    Attributes:
        name: as ``FeatureTap`` takes it; empty for the model itself.
        kind: name of its class.
        shape: of its output; the keys and shapes of the parts where that is no tensor.
    """

    name: str
    kind: str
    shape: tuple[int, ...] | str


def layers(model: nn.Module, example: Inputs) -> list[LayerShape]:
    """Return the layers of ``model`` that can be tapped, with the shapes of their outputs.

    The model runs once, in eval mode and without gradients; its modes, hooks and buffers are left
    as they were.

    Args:
        model: any network.
        example: what it is called with: a tensor, a tuple of positional inputs, or a dict of
            inputs by keyword; moved to the device of the model.

    Returns:
        All submodules that ran, in the order of ``named_modules``; the model itself, whose name is
        empty, comes first. Of a layer that ran several times it is the last output.
    """
    found: dict[str, LayerShape] = {}
    with probing(model), ExitStack() as hooks:
        for name, module in model.named_modules():

            def keep(module: nn.Module, inputs: Any, output: Any, name: str = name) -> None:
                shape = tuple(output.shape) if isinstance(output, Tensor) else _listed(output)
                found[name] = LayerShape(name, type(module).__name__, shape)

            hooks.callback(module.register_forward_hook(keep).remove)
        call(model, moved(example, device_of(model)))
    return [found[name] for name, _ in model.named_modules() if name in found]


@contextmanager
def probing(model: nn.Module) -> Iterator[None]:
    """Eval mode and no gradients; afterwards modes and buffers of ``model`` are as before."""
    modules = list(model.modules())
    modes = [module.training for module in modules]
    buffers = [
        (module, name, buffer, buffer._version, buffer.clone())
        for module in modules
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    try:
        with torch.no_grad():
            model.eval()
            yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode
        with torch.no_grad():
            for module, name, buffer, version, value in buffers:
                module._buffers[name] = buffer
                if buffer._version != version:
                    buffer.copy_(value)


def call(model: Callable[..., Any], inputs: Inputs) -> Any:
    """Call ``model`` with a tensor, a tuple of positional inputs, or a mapping of keywords."""
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)


def moved(inputs: Inputs, device: torch.device | None) -> Inputs:
    """Return ``inputs`` with their tensors on ``device``; None leaves them where they are.

    Tensors in lists, tuples and dicts are found at any depth, as a detector's targets are.
    """
    if device is None:
        return inputs
    if isinstance(inputs, Tensor):
        return inputs.to(device)
    if isinstance(inputs, Mapping):
        return {name: moved(value, device) for name, value in inputs.items()}
    if type(inputs) in (tuple, list):
        return type(inputs)(moved(value, device) for value in inputs)
    return inputs


def device_of(owner: nn.Module | Inputs) -> torch.device | None:
    """Return the device of the first parameter or input tensor; None where there is none."""
    tensors = owner.parameters() if isinstance(owner, nn.Module) else _tensors_in(owner)
    return next((tensor.device for tensor in tensors), None)


def _tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors of inputs, at any depth."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _tensors_in(part)


def logits_of(output: Any) -> Tensor | None:
    """Return a model's output where it is a tensor, or its part ``logits``; otherwise None."""
    logits = output if isinstance(output, Tensor) else _parts(output).get("logits")
    return logits if isinstance(logits, Tensor) else None


@runtime_checkable
class HasPrefixTokens(Protocol):
    """A network whose token layers begin with others than those of patches, as timm's declare.

    Attributes:
        num_prefix_tokens: class and register tokens, 0 or above.
    """

    num_prefix_tokens: int


def prefix_tokens_of(model: nn.Module) -> int:
    """Return how many tokens of a network stand before those of patches; 0 if it does not say."""
    return model.num_prefix_tokens if isinstance(model, HasPrefixTokens) else 0


def pooling(layout: str | Pool = "auto", prefix_tokens: int = 0) -> Pool:
    """Return a function that pools features of a layout to (N, D) by their mean.

    Args:
        layout: ``NCHW`` or ``NHWC`` maps; ``NLC`` tokens; ``token`` for the first token alone;
            ``auto`` to infer it from the shape (maps whose equal sides come last are NCHW, whose
            equal sides come first are NHWC); ``dense`` for a row for each place, see ``dense``; or
            a function, returned as it is.
        prefix_tokens: class or register tokens at the start of NLC that the mean leaves out.

    Raises:
        ValueError: for an unknown layout, or when ``auto`` cannot infer it.
    """
    if callable(layout):
        return layout
    if layout == "dense":
        return dense("auto", prefix_tokens)
    pools: dict[str, Pool] = {
        "NCHW": lambda x: x.mean((2, 3)),
        "NHWC": lambda x: x.mean((1, 2)),
        "NLC": lambda x: x[:, prefix_tokens:].mean(1),
        "token": lambda x: x[:, 0],
        "none": lambda x: x,
    }
    if layout == "auto":
        return lambda x: pools[layout_of(x)](x)
    if layout not in pools:
        raise ValueError(
            f"pool must be auto, dense, {', '.join(pools)} or a function, found {layout!r}."
        )
    return pools[layout]


def dense(layout: str = "auto", prefix_tokens: int = 0) -> Pool:
    """Return a function that makes a row of each place: (N * places, D), image by image.

    Maps and tokens of the same grid give the same order, so that they can be compared place by
    place.

    Args:
        layout: ``NCHW``, ``NHWC``, ``NLC`` or ``auto``, as in ``pooling``.
        prefix_tokens: class or register tokens at the start of NLC that are left out.

    Raises:
        ValueError: for another layout, where ``auto`` cannot infer it, or for pooled features.
    """
    known: dict[str, Pool] = {
        "NCHW": lambda x: x.permute(0, 2, 3, 1).flatten(0, 2),
        "NHWC": lambda x: x.flatten(0, 2),
        "NLC": lambda x: x[:, prefix_tokens:].flatten(0, 1),
    }
    if layout not in ("auto", *known):
        raise ValueError(f"layout must be auto or one of {', '.join(known)}, found {layout!r}.")

    def rows(features: Tensor) -> Tensor:
        found = layout_of(features) if layout == "auto" else layout
        if found not in known:
            raise ValueError(
                f"Dense features must have places, found shape {tuple(features.shape)}; choose a "
                "layer before the pooling."
            )
        return known[found](features)

    return rows


def layout_of(features: Tensor) -> str:
    """Return the layout that ``pooling`` infers from the shape of features; none for (N, D).

    Raises:
        ValueError: if it cannot.
    """
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
        f"Cannot infer the layout of features of shape {tuple(features.shape)}; "
        "name it with pool=, for example pool='NCHW', or give a function that returns (N, D)."
    )


def _split(layer: str) -> tuple[str, str]:
    """A layer's name and the key after its colon."""
    name, _, key = layer.rpartition(":") if ":" in layer else (layer, "", "")
    return name, key


def _parts(output: Any) -> dict[str, Any]:
    """What an output consists of, by key; parts that are None are absent."""
    if isinstance(output, Mapping):
        named = {str(key): value for key, value in output.items()}
    elif hasattr(output, "_asdict"):
        named = output._asdict()
    elif isinstance(output, tuple | list):
        named = {str(index): value for index, value in enumerate(output)}
    elif is_dataclass(output):
        named = {field.name: getattr(output, field.name) for field in fields(output)}
    else:
        named = dict(getattr(output, "__dict__", {}))
    return {key: value for key, value in named.items() if value is not None}


def _tensor_of(output: Any, key: str, layer: str) -> Tensor:
    if isinstance(output, Tensor) and not key:
        return output
    parts = {} if isinstance(output, Tensor) else _parts(output)
    if key:
        found = parts.get(key)
        if found is None and key.isdecimal():
            places = output if isinstance(output, tuple) else tuple(parts.values())
            found = places[int(key)] if int(key) < len(places) else None
        if isinstance(found, Tensor):
            return found
        raise ValueError(
            f"The output of the layer {layer.removesuffix(':' + key)!r} has no tensor {key!r}; "
            f"it has {_listed(output)}."
        )
    tensors = [part for part in parts.values() if isinstance(part, Tensor)]
    if len(tensors) == 1:
        return tensors[0]
    first = output[0] if isinstance(output, tuple | list) and output else None
    preferred = first if first is not None else parts.get("last_hidden_state")
    if isinstance(preferred, Tensor):
        return preferred
    raise ValueError(
        f"The layer {layer!r} returns {type(output).__name__}, not a tensor; name a part as in "
        f"'{layer}:KEY', of {_listed(output)}."
    )


def _listed(output: Any) -> str:
    """The keys and shapes of an output's parts."""
    if isinstance(output, Tensor):
        return f"one tensor {tuple(output.shape)}"
    parts = [
        f"{key[:24]} {tuple(part.shape) if isinstance(part, Tensor) else type(part).__name__}"
        for key, part in _parts(output).items()
    ]
    more = len(parts) - _MOST_LISTED
    return ", ".join(parts[:_MOST_LISTED] + [f"{more} more"] * (more > 0)) or "no parts"
