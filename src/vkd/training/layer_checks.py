"""Watches the layers of a step for the first output, or gradient, that is no finite number."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.utils._pytree import tree_leaves


@dataclass(frozen=True)
class LayerFault:
    """A layer where numbers stop being finite.

    Attributes:
        layer: its name; that of its type where it belongs to a network that is not trained.
        kind: its type.
        part: ``output``, or ``gradient`` for that of its output.
        count: numbers that are not finite.
        total: all numbers.
        inputs_are_finite: whether what came in was finite, and so the fault began here.
    """

    layer: str
    kind: str
    part: str
    count: int
    total: int
    inputs_are_finite: bool

    def __str__(self) -> str:
        begun = ", of finite inputs" if self.inputs_are_finite else ", as its inputs were"
        origin = begun if self.part == "output" else ""
        return (
            f"{self.layer} ({self.kind}): {self.count:,} of {self.total:,} numbers of its "
            f"{self.part} are not finite{origin}"
        )


class LayerChecks:
    """Keeps the first fault of the outputs, and of the gradients, of all layers that run.

    Args:
        modules: names of layers, by the layers.

    Attributes:
        output: the first layer whose output is no finite number, in the order of computing.
        gradient: the first whose output has such a gradient, in the order of the way back.
    """

    def __init__(self, modules: Mapping[nn.Module, str]) -> None:
        self._names = modules
        self.output: LayerFault | None = None
        self.gradient: LayerFault | None = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch every layer that runs within the block, those of frozen networks, too."""
        handle = register_module_forward_hook(self._see)
        try:
            yield
        finally:
            handle.remove()

    def _see(self, layer: nn.Module, inputs: Any, output: Any) -> None:
        for part in _numbers(output):
            if self.output is None and not part.isfinite().all():
                is_new = all(bool(given.isfinite().all()) for given in _numbers(inputs))
                self.output = self._fault(layer, "output", part, is_new)
            if part.requires_grad:
                part.register_hook(partial(self._see_gradient, layer))

    def _see_gradient(self, layer: nn.Module, gradient: Tensor) -> None:
        if self.gradient is None and not gradient.isfinite().all():
            self.gradient = self._fault(layer, "gradient", gradient, False)

    def _fault(self, layer: nn.Module, part: str, numbers: Tensor, is_new: bool) -> LayerFault:
        kind = type(layer).__name__
        name = self._names.get(layer) or f"a {kind} that is not trained"
        count = int((~numbers.isfinite()).sum())
        return LayerFault(name, kind, part, count, numbers.numel(), is_new)


def layer_names(modules: Iterable[nn.Module]) -> dict[nn.Module, str]:
    """Return the full names of all layers of the modules, by the layers."""
    return {
        layer: name or type(module).__name__
        for module in modules
        for name, layer in module.named_modules()
    }


def _numbers(nested: Any) -> list[Tensor]:
    """The floating-point tensors in what a layer takes or returns."""
    leaves = (part for part in tree_leaves(nested) if isinstance(part, Tensor))
    return [part for part in leaves if part.is_floating_point()]


def failing_operation(error: RuntimeError) -> str:
    """Return the operation that torch's anomaly mode names as the one whose gradient is nan."""
    words = str(error).split("'")
    return words[1].removesuffix("Backward0") if "returned nan" in str(error) else ""
