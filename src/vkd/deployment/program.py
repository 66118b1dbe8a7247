"""A network as a program of torch.export, whose batches may be of any length."""

from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vkd.errors import RunError, UserError, reason_of, shortened
from vkd.training.task import Exported

# What a file of ONNX, a protocol buffer, may hold.
_MOST_BYTES = 2**31 - 2**20


def traced(exported: Exported) -> torch.export.ExportedProgram:
    """Return the program of a network.

    Raises:
        UserError: if it does not take the inputs.
        RunError: if it cannot be traced.
    """
    model, inputs = exported.module.eval(), tuple(exported.inputs.values())
    try:
        with torch.no_grad():
            model(*inputs)
    except (AssertionError, RuntimeError, ValueError) as error:
        shapes = ", ".join(str(tuple(part.shape)) for part in inputs)
        raise UserError(
            f"The model does not take inputs of {shapes} (--height, --width): {reason_of(error)}."
        ) from None
    # The strides that fused attention is traced with are not those that ONNX's tools assume.
    module: Any  # whose flag only timm's attention has
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False
    batch = torch.export.Dim("batch", min=1, max=1024)
    dynamic = tuple({0: batch} for _ in inputs)
    try:
        return torch.export.export(model, inputs, dynamic_shapes=dynamic)
    # What a network does that cannot be traced is of no fixed kind.
    except Exception as error:
        raise RunError(
            f"The model cannot be traced by torch.export for batches of any length: "
            f"{shortened(reason_of(error), 150)}."
        ) from error


def require_onnx() -> None:
    """Raise ``UserError`` if a package that writes, runs or quantises ONNX is not installed."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        raise UserError("ONNX needs more packages: pip install 'vkd[onnx]'.") from None


def as_onnx(program: torch.export.ExportedProgram, exported: Exported) -> Any:
    """Return a program as a ``torch.onnx.ONNXProgram``.

    Raises:
        UserError: if no file could hold it.
        RunError: if ONNX has no operators for it.
    """
    if (size := _size(exported.module)) > _MOST_BYTES:
        raise UserError(
            f"OUT must be a .pt2 file: one of ONNX holds 2 GB, and the model has {size / 1e9:.1f}."
        )
    try:
        return torch.onnx.export(
            program, input_names=list(exported.inputs), output_names=exported.outputs,
            dynamo=True, verbose=False,
        )  # fmt: skip
    # The converter's errors have no common base.
    except Exception as error:
        raise RunError(
            f"The model cannot be converted to ONNX: {shortened(reason_of(_cause(error)), 150)}."
        ) from error


def _cause(error: Exception) -> Exception:
    """What the converter stumbled over, below its own advice to those who report it."""
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
    return error


def _size(model: nn.Module) -> int:
    return sum(part.numel() * part.element_size() for part in model.state_dict().values())


def write_program(
    program: torch.export.ExportedProgram, file: Path, exported: Exported, metadata: dict[str, str]
) -> None:
    """Write a program as ``.onnx`` or ``.pt2`` by the file's suffix, with its metadata inside.

    Raises:
        UserError, RunError: as ``as_onnx``.
        OSError: if the file cannot be written.
    """
    if file.suffix == ".onnx":
        written = as_onnx(program, exported)
        written.model.metadata_props.update(metadata)
        written.save(file)
        return
    # Not into the file itself, where torch ends the process if the disk is full.
    whole = BytesIO()
    torch.export.save(program, whole, extra_files=dict(metadata))
    file.write_bytes(whole.getbuffer())
