"""``vkd.export``: checkpoints as ONNX and torch.export programs, which say who they are."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import nn

from vkd.api.checkpoints import checkpoint_with_recipe
from vkd.api.int8 import Int8, written_in_int8
from vkd.api.pictures import Found, PictureSource
from vkd.config import TrainingConfig
from vkd.deployment.check import compared
from vkd.deployment.description import SUFFIXES
from vkd.deployment.program import require_onnx, traced, write_program
from vkd.deployment.samples import batches_of, counted, made_batches
from vkd.errors import FieldError, UserError, shortened
from vkd.models.checkpoints import Checkpoint
from vkd.models.cost import model_cost
from vkd.models.targets import check_new, written_whole
from vkd.ranges import LARGEST_SIDE, require_range
from vkd.tasks import task_of
from vkd.training.spec import NoOptions, resolve
from vkd.training.task import Exported, Objects
from vkd.versions import versions

# A file is checked on so many pictures, in batches of other lengths than the traced one.
_CHECKED = 8
_SIZES = (1, 3, 4)
# To calibrate with.
_MOST_PICTURES = 100_000


def export(
    checkpoint: str,
    target: str | Path,
    recipe: str = "",
    size: tuple[int, int] = (0, 0),
    *,
    student: str | nn.Module | None = None,
    data_path: str = "",
    pictures: str = "",
    int8: bool = False,
    calibration: str = "",
    calibration_count: int = 128,
    evaluate: bool = True,
) -> list[str]:
    """Write a checkpoint as an ``.onnx`` or ``.pt2`` file; return lines on what it takes and gives.

    The file is run at once, in ONNX Runtime or torch, on pictures and in batches of several
    lengths; where its outputs differ from the network's by more than a thousandth, there is no
    file. It says what it is, as a weights file does, in ONNX's ``metadata_props`` and in
    torch.export's ``extra_files``; ``read_exported`` reads it.

    Args:
        checkpoint: weights file or run folder.
        target: the new file; its suffix is the format.
        recipe: name or file, where the checkpoint does not name its own.
        size: (height, width) of the images; 0 for the recipe's. Batches may be of any length.
        student: your own network, where the run was trained with one; or its name, as for
            ``vkd.evaluate``.
        data_path: folder of the recipe's data, where it is another now.
        pictures: folder of pictures to check the file on; those of the recipe's data when empty,
            and made inputs where these are not at hand.
        int8: quantise weights and activations to 8 bits, by ONNX Runtime.
        calibration: folder of pictures that show the ranges of activations; the recipe's training
            pictures when empty.
        calibration_count: most pictures to calibrate with.
        evaluate: measure the task's metric on the recipe's test split, in float and in 8 bits; with
            ``int8``.

    Raises:
        UserError: if the file is there already or cannot be made, the model does not take images
            of the size, it cannot be quantised, or ONNX's packages are not installed.
        RunError: if the file cannot be written whole or computes something else; then there is
            none.
    """
    target = Path(target)
    _check_arguments(target, size, int8, calibration, calibration_count, evaluate)
    changes = {"student": student} if isinstance(student, str) else {}
    changes |= {"data_path": data_path} if data_path else {}
    objects = Objects(student=None if isinstance(student, str) else student)
    read, config, _ = checkpoint_with_recipe(
        str(checkpoint), recipe, objects, changes, lambda spec: NoOptions
    )
    if read.network is not None:
        raise UserError(f"{shortened(read.file, 200)} is exported already; name its weights.")
    spec = task_of(config)
    if spec.export is None:
        raise UserError(f"Models of {spec.name} cannot be exported.")
    exported = Exported(*resolve(spec.export)(config, read, size, objects))
    if int8 and exported.no_int8:
        raise FieldError("int8", f"has no meaning for {spec.name}: {exported.no_int8}.")
    source = PictureSource(config, exported)
    shown = source.of("test", _CHECKED, pictures, "pictures")
    calibrating = source.calibrating(calibration_count, calibration) if int8 else None
    program = traced(exported)
    name = read.model_name or (config.model_names() | objects.given()).get("student", "")
    metadata = _metadata(exported, read, config) | {"architecture": name}
    with written_whole(target) as (file,), TemporaryDirectory() as folder:
        in_float = Path(folder) / "float.onnx" if int8 else file
        write_program(program, in_float, exported, metadata)
        prefix = "in float, " if int8 else ""
        lines = [prefix + _checked(exported, in_float, shown, source.absent)]
        if calibrating is not None:
            settings = Int8(calibrating, pictures, evaluate)
            lines += written_in_int8(file, in_float, exported, config, metadata, source, settings)
    return [f"{target}: {target.stat().st_size / 1e6:,.2f} MB", *_ends(metadata), *lines]


def _check_arguments(
    target: Path, size: tuple[int, int], int8: bool, calibration: str, count: int, evaluate: bool
) -> None:
    check_new(target)
    if target.suffix not in SUFFIXES:
        raise UserError(f"OUT must end in .onnx or .pt2, found {target}.")
    for name, side in zip(("height", "width"), size, strict=True):
        require_range(name, side, 0, LARGEST_SIDE)
    require_range("calibration_count", count, 1, _MOST_PICTURES)
    if int8 and target.suffix != ".onnx":
        raise FieldError("int8", f"is ONNX Runtime's; OUT must end in .onnx, found {target}.")
    if target.suffix == ".onnx":
        require_onnx()
    unread = {"calibration": calibration, "evaluate": "" if evaluate else "false"}
    for name, value in unread.items():
        if value and not int8:
            raise FieldError(name, f"has no effect without int8, found {value}.")


def _metadata(exported: Exported, read: Checkpoint, config: TrainingConfig) -> dict[str, str]:
    """What a file says of itself, beside the name of its network."""
    takes = {
        name: {"shape": ["batch", *part.shape[1:]], "dtype": str(part.dtype).split(".")[1]}
        for name, part in exported.inputs.items()
    }
    single = (part[:1] for part in exported.inputs.values())
    found: Mapping[str, Any] = {
        "recipe": asdict(config),
        "takes": takes,
        "gives": exported.outputs,
        "cost": model_cost(exported.module, *single),
        "versions": versions(),
    }
    texts = {name: json.dumps(value) for name, value in found.items()}
    license = read.metadata.get("license", "")
    told = {"task": config.task} | ({"license": license} if license else {})
    return texts | told | dict(exported.metadata)


def _ends(metadata: Mapping[str, str]) -> list[str]:
    takes = ", ".join(
        f"{name} ({', '.join(map(str, part['shape']))}) {part['dtype']}"
        for name, part in json.loads(metadata["takes"]).items()
    )
    return [f"takes: {takes}", f"gives: {', '.join(json.loads(metadata['gives']))}"]


def _checked(exported: Exported, file: Path, found: Found | None, absent: str) -> str:
    """Compare a file with its network; return what was found as a line."""
    pictures = [] if found is None else list(found.pictures)
    if found is not None and pictures:
        told = f"{counted(len(pictures))} of {found.place}"
        batches = batches_of(exported, cycle(pictures), _SIZES)
    else:
        told = f"made inputs ({absent or 'no picture can be read'})"
        batches = made_batches(exported, _SIZES)
    runtime = "ONNX Runtime" if file.suffix == ".onnx" else "torch"
    return f"checked in {runtime} on {told}, in {compared(exported.module, file, batches)}"
