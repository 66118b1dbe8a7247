"""What a written file computes, beside the network that it was made of."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vkd.deployment.samples import Inputs
from vkd.errors import RunError, reason_of, shortened
from vkd.models.onnx_network import OnnxNetwork

# Of outputs up to 1, or of the largest: float32 rounds every operator, in another order in each
# library.
TOLERANCE = 1e-3


@dataclass
class Comparison:
    """How far a file's outputs are from the network's.

    Attributes:
        sizes: of the batches that were compared.
        difference: the largest, of any output, divided by ``scale``.
        scale: the largest output of its batch, at least 1.
    """

    sizes: list[int]
    difference: float = 0.0
    scale: float = 1.0

    def __str__(self) -> str:
        *first, last = map(str, self.sizes)
        sizes = f"batches of {', '.join(first)} and {last}" if first else f"a batch of {last}"
        return (
            f"{sizes}: largest difference {self.difference * self.scale:.2g}, "
            f"bound {TOLERANCE * self.scale:.2g}"
        )


def compared(model: nn.Module, file: Path, batches: Iterable[Inputs]) -> Comparison:
    """Run a file and the network that it was made of on the same inputs.

    Raises:
        RunError: if outputs differ by more than ``TOLERANCE``, or the file does not run.
    """
    run, found = runner(file), Comparison([])
    for inputs in batches:
        size = len(next(iter(inputs.values())))
        with torch.no_grad():
            expected = outputs_of(model(*inputs.values()))
        try:
            with torch.no_grad():
                outputs = outputs_of(run(*inputs.values()))
        except (RuntimeError, ValueError, AssertionError) as error:
            raise RunError(
                f"The exported file does not run a batch of {size}: "
                f"{shortened(reason_of(error), 120)}; it was not kept."
            ) from None
        found.sizes.append(size)
        for output, right in zip(outputs, expected, strict=True):
            scale = max(1.0, float(right.abs().max()))
            difference = float((output - right).abs().max()) / scale
            if not difference <= TOLERANCE:
                raise RunError(
                    f"The exported file's outputs differ by {difference * scale:.2g} from the "
                    f"network's in a batch of {size}, the bound being {TOLERANCE * scale:.2g}; it "
                    "was not kept."
                )
            if difference >= found.difference:
                found.difference, found.scale = difference, scale
    return found


def runner(file: Path) -> Callable[..., Any]:
    """Return what runs a file that was just written: ONNX Runtime, or torch."""
    return OnnxNetwork(file) if file.suffix == ".onnx" else torch.export.load(file).module()


def outputs_of(found: Any) -> list[Tensor]:
    """Return the outputs of a network one by one."""
    return [found] if isinstance(found, Tensor) else list(found)
