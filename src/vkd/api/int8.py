"""Exported networks in 8 bits, measured beside float."""

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

from vkd.api.pictures import Found, PictureSource
from vkd.config import TrainingConfig
from vkd.deployment.agreement import agreement
from vkd.deployment.quantization import named, quantized, set_metadata
from vkd.deployment.samples import batches_of, counted
from vkd.errors import RunError, UserError
from vkd.models.checkpoints import read_exported_network
from vkd.tasks import metric_of, task_of
from vkd.training.accelerator import make_accelerator
from vkd.training.spec import resolve
from vkd.training.task import Exported, Objects

_log = logging.getLogger("vkd")
_BATCH = 8
_COMPARED = 64


class Int8(NamedTuple):
    """Pictures to calibrate with; the folder of those to compare outputs on, empty for the recipe's
    data; and whether to ``evaluate`` both files on the recipe's test split."""

    calibrating: Found
    pictures: str
    evaluate: bool


def written_in_int8(
    file: Path,
    in_float: Path,
    exported: Exported,
    config: TrainingConfig,
    metadata: Mapping[str, str],
    source: PictureSource,
    settings: Int8,
) -> list[str]:
    """Write a network in 8 bits; return lines on what was done and what it costs.

    Args:
        file: to write.
        in_float: the network as an ``.onnx`` file.
        exported: the network.
        config: its recipe, by whose data it is measured.
        metadata: what the file says of itself.
        source: of pictures.
        settings: what to quantise with.

    Raises:
        FieldError: if none of the pictures to calibrate with can be read.
        RunError: if it cannot be quantised.
    """
    found = settings.calibrating
    batches = batches_of(exported, found.pictures, repeat(_BATCH))
    done = quantized(in_float, file, batches)
    set_metadata(file, metadata)
    lines = [
        f"int8: {done.method}, of {counted(done.pictures)} of {found.place}",
        f"in 8 bits: {named(done.int8)}; in float: {named(done.float)}",
    ]
    told, sizes = done.as_dict(), [in_float.stat().st_size, file.stat().st_size]
    lines.append(
        "size: {:,.2f} MB in float, {:,.2f} MB in 8 bits".format(*(s / 1e6 for s in sizes))
    )
    shown = source.of("test", _COMPARED, settings.pictures, "pictures")
    if shown is not None:
        same = agreement(
            in_float, file, batches_of(exported, shown.pictures, repeat(_BATCH)),
            has_classes="classes" in metadata,
        )  # fmt: skip
        lines.append(f"outputs in 8 bits beside float, on pictures of {shown.place}: {same}")
        told["agreement"] = same.as_dict()
    if settings.evaluate:
        line, measured = _measured(config, in_float, file)
        lines.append(line)
        told |= measured
    set_metadata(file, dict(metadata) | {"quantization": json.dumps(told)})
    return lines


def _measured(config: TrainingConfig, *files: Path) -> tuple[str, dict[str, Any]]:
    """A line about the task's metric of the float and the 8-bit file, and the two."""
    try:
        metric = metric_of(config)
        if "data" in config.objects:
            raise UserError("its data were a Python object")
        _log.info("measuring %s on the test split, in float and in 8 bits", metric.name)
        before, after = (evaluated(config, file)[metric.name] for file in files)
    except (UserError, RunError) as error:
        return f"the test split was not evaluated: {str(error).rstrip('.')}", {}
    line = f"{metric.label}: {before:.2f} in float, {after:.2f} in 8 bits, on the test split"
    return line, {"metric": {"name": metric.name, "float": before, "int8": after}}


def evaluated(config: TrainingConfig, file: Path) -> dict[str, float]:
    """Return the metrics of an ``.onnx`` file on the test split of a recipe, on the CPU."""
    read = read_exported_network(file)
    spec, on_cpu = task_of(config), replace(config, device="cpu", mixed_precision="no")
    accelerator = make_accelerator(on_cpu)
    objects = Objects(student=read.network)
    return resolve(spec.evaluate)(on_cpu, read, accelerator, spec.evaluate_options(), objects)
