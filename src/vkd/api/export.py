"""Checkpoints as ONNX and torch.export programs, which say who they are."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vkd.api.checkpoints import checkpoint_with_recipe
from vkd.errors import FieldError, UserError, reason_of
from vkd.models.targets import check_new, written_whole
from vkd.tasks import task_of
from vkd.training.spec import NoOptions, resolve
from vkd.training.task import Exported, Objects
from vkd.versions import versions


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

    The file says what it is, as a weights file does, in ONNX's ``metadata_props`` and in
    torch.export's ``extra_files``: ``architecture``, ``versions``, ``classes`` or ``categories``,
    and ``inputs`` (mean, std and size of its images).

    Raises:
        UserError: if the file is there already or cannot be made, the model does not take images
            of the size, or ONNX's packages are not installed.
        RunError: if the file cannot be written whole; then there is none.
    """
    target = Path(target)
    check_new(target)
    if target.suffix not in (".onnx", ".pt2"):
        raise UserError(f"OUT must end in .onnx or .pt2, found {target}.")
    for name, side in zip(("height", "width"), size, strict=True):
        if side < 0:
            raise FieldError(name, f"must be at least 0, found {side}.")
    objects = Objects(student=student)
    read, config, _ = checkpoint_with_recipe(
        str(checkpoint), recipe, objects, {}, lambda spec: NoOptions
    )
    spec = task_of(config)
    if spec.export is None:
        raise UserError(f"Models of {spec.name} cannot be exported.")
    exported = Exported(*resolve(spec.export)(config, read, size, objects))
    name = read.model_name or (config.model_names() | objects.given()).get("student", "")
    metadata = dict(exported.metadata) | {"versions": json.dumps(versions()), "architecture": name}
    program = _program(exported)
    with written_whole(target) as (file,):
        _write(program, file, exported, metadata)
    shapes = [f"{name} {tuple(part.shape)} {part.dtype}" for name, part in exported.inputs.items()]
    return [str(target), "takes: " + ", ".join(shapes), "gives: " + ", ".join(exported.outputs)]


def _program(exported: Exported) -> torch.export.ExportedProgram:
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
    return torch.export.export(model, inputs, dynamic_shapes=dynamic)


def _write(program: Any, file: Path, exported: Exported, metadata: dict[str, str]) -> None:
    if file.suffix == ".pt2":
        # Not into the file itself, where torch ends the process if the disk is full.
        whole = BytesIO()
        torch.export.save(program, whole, extra_files=dict(metadata))
        file.write_bytes(whole.getbuffer())
        return
    try:
        import onnxscript  # noqa: F401
    except ImportError:
        raise UserError("ONNX needs more packages: pip install 'vkd[onnx]'.") from None
    written = torch.onnx.export(
        program, input_names=list(exported.inputs), output_names=exported.outputs, dynamo=True,
        verbose=False,
    )  # fmt: skip
    assert written is not None
    written.model.metadata_props.update(metadata)
    written.save(file)
