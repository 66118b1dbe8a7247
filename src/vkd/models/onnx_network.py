"""Exported networks as modules, which ONNX Runtime runs."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vkd.errors import UserError, reason_of, shortened


class OnnxNetwork(nn.Module):
    """A network of an ``.onnx`` file, run on the CPU; it has nothing that could be trained.

    Args:
        file: the file.

    Attributes:
        inputs: the shape of each input by name; names stand where any length is taken.
        outputs: likewise.
        metadata: what the file says of itself.

    Raises:
        UserError: if the file is no ONNX, or ONNX Runtime is not installed.
    """

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._session = open_session(file)
        self.inputs = {part.name: list(part.shape) for part in self._session.get_inputs()}
        self.outputs = {part.name: list(part.shape) for part in self._session.get_outputs()}
        self.metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map

    def cost(self) -> dict[str, float]:
        """Return parameters and multiply-adds, as its file has them; empty where it has not."""
        return json.loads(self.metadata.get("cost", "{}"))

    def forward(self, *inputs: Tensor) -> Any:
        """Return the output, or a tuple of several, on the device of the inputs.

        Raises:
            ValueError: for inputs that it does not take.
        """
        arrays = [part.detach().cpu().numpy() for part in inputs]
        try:
            found = self._session.run(None, dict(zip(self.inputs, arrays, strict=True)))
        # The runtime's errors have no common base.
        except Exception as error:
            raise ValueError(reason_of(error)) from None
        outputs = tuple(torch.from_numpy(part).to(inputs[0].device) for part in found)
        return outputs if len(outputs) > 1 else outputs[0]


def open_session(
    file: Path, threads: int = 0, providers: Sequence[str] = ("CPUExecutionProvider",)
) -> Any:
    """Return an ``onnxruntime.InferenceSession``.

    Args:
        file: the network.
        threads: on the CPU; 0 for as many as torch has.
        providers: what runs it, the first that can.

    Raises:
        UserError: if the file is no ONNX, or ONNX Runtime is not installed.
    """
    try:
        import onnxruntime
    except ImportError:
        raise UserError("ONNX needs more packages: pip install 'vkd[onnx]'.") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads or torch.get_num_threads()
    try:
        return onnxruntime.InferenceSession(str(file), options, providers=list(providers))
    # The runtime's errors have no common base.
    except Exception as error:
        reason = shortened(reason_of(error), 100)
        raise UserError(f"{shortened(file, 120)} cannot be read as ONNX: {reason}.") from None
