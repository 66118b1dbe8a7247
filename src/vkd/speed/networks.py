"""A network to measure, in the runtimes that it can run in."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from vkd.models.cost import model_cost
from vkd.speed.results import MeasuredNetwork
from vkd.speed.rounds import Call
from vkd.speed.runtimes import (
    COMPILED,
    ONNX,
    PYTORCH,
    OnnxRuns,
    batch_of,
    compiled,
    in_pytorch,
    run_compiled,
)


@dataclass
class Network:
    """A network with examples of what it takes.

    Attributes:
        label: student or against.
        source: the file, folder or name that it was given as.
        name: of the model; empty where it is not known.
        module: in eval mode; None for a file that only ONNX Runtime runs.
        examples: of its inputs by name, in the order that ``module`` takes them.
        file: its weights; None where they lie in none.
        onnx: in ONNX Runtime; None where it is not to run there.
        notes: what was left out or replaced.
    """

    label: str
    source: str
    name: str
    module: nn.Module | None
    examples: dict[str, Tensor]
    file: Path | None
    onnx: OnnxRuns | None = None
    notes: list[str] = field(default_factory=list)

    def measured(self) -> MeasuredNetwork:
        """Return what is known of it, its cost for one sample among that."""
        cost: dict[str, float] = {}
        if self.module is not None:
            cost = model_cost(self.module, *batch_of(self.examples, 1).values())
        return MeasuredNetwork(
            self.label,
            self.source,
            self.name,
            int(cost["parameters"]) if cost else None,
            int(cost["macs"]) if cost else None,
            self.file.stat().st_size if self.file else None,
            {name: list(part.shape[1:]) for name, part in self.examples.items()},
        )

    def calls(self, size: int, device: torch.device, compile: bool) -> dict[str, Call]:
        """Return what runs it on a batch of ``size``, by runtime.

        Raises:
            RunError: if it cannot be compiled.
        """
        inputs = batch_of(self.examples, size)
        found: dict[str, Call] = {}
        if self.module is not None:
            found[PYTORCH] = in_pytorch(self.module, inputs, device)
        if self.module is not None and compile:
            found[COMPILED] = in_pytorch(compiled(self.module), inputs, device)
            run_compiled(found[COMPILED])
        if self.onnx is not None:
            found[ONNX] = self.onnx.on(inputs)
        return found
