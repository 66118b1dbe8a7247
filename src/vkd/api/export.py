"""Checkpoints as ONNX and torch.export programs."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from vkd.api.checkpoints import checkpoint_with_recipe
from vkd.errors import UserError
from vkd.tasks import task_of
from vkd.training.spec import NoOptions, resolve
from vkd.training.task import Objects


def export(
    checkpoint: str,
    target: str | Path,
    recipe: str = "",
    size: tuple[int, int] = (0, 0),
    *,
    student: nn.Module | None = None,
) -> list[str]:
    """Write a checkpoint as an ``.onnx`` or ``.pt2`` file; return lines on what it takes and gives.

    Args:
        checkpoint: weights file or run folder.
        target: the new file; its suffix is the format.
        recipe: name or file, where the checkpoint does not name its own.
        size: (height, width) of the images; 0 for the recipe's. Batches may be of any length.
        student: your own network, where the run was trained with one.

    Raises:
        UserError: if the file is there already, or ONNX's packages are not installed.
    """
    target = Path(target)
    if target.suffix not in (".onnx", ".pt2"):
        raise UserError(f"OUT must end in .onnx or .pt2, found {target}.")
    if target.exists():
        raise UserError(f"OUT: {target} exists already; name a new file.")
    objects = Objects(student=student)
    read, config, _ = checkpoint_with_recipe(
        str(checkpoint), recipe, objects, {}, lambda spec: NoOptions
    )
    spec = task_of(config)
    if spec.export is None:
        raise UserError(f"Models of {spec.name} cannot be exported.")
    model, inputs, names = resolve(spec.export)(config, read, size, objects)
    target.parent.mkdir(parents=True, exist_ok=True)
    batch = torch.export.Dim("batch", min=1, max=1024)
    dynamic = tuple({0: batch} for _ in inputs.values())
    # The strides that fused attention is traced with are not those that ONNX's tools assume.
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False
    program = torch.export.export(model.eval(), tuple(inputs.values()), dynamic_shapes=dynamic)
    if target.suffix == ".pt2":
        torch.export.save(program, target)
    else:
        _write_onnx(program, target, list(inputs), names)
    shapes = [f"{name} {tuple(part.shape)} {part.dtype}" for name, part in inputs.items()]
    return [str(target), "takes: " + ", ".join(shapes), "gives: " + ", ".join(names)]


def _write_onnx(program: Any, target: Path, inputs: list[str], outputs: list[str]) -> None:
    try:
        import onnxscript  # noqa: F401
    except ImportError:
        raise UserError("ONNX needs more packages: pip install 'vkd[onnx]'.") from None
    written = torch.onnx.export(
        program, input_names=inputs, output_names=outputs, dynamo=True, verbose=False
    )
    assert written is not None
    written.save(target)
