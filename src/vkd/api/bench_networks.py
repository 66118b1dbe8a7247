"""The networks that ``vkd.bench`` measures, by what a user calls them."""

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vkd.api.checkpoints import checkpoint_with_recipe
from vkd.config import TrainingConfig
from vkd.deployment.program import traced, write_program
from vkd.errors import FieldError, RunError, UserError
from vkd.inputs import InputFormat
from vkd.models.checkpoints import Checkpoint, read_checkpoint
from vkd.models.factory import HUB, check_name, create_model, published_config
from vkd.network_names import is_code
from vkd.recipe import changed, config_of
from vkd.speed.networks import Network
from vkd.speed.results import AGAINST, STUDENT
from vkd.speed.runtimes import OnnxRuns, try_network
from vkd.tasks import task_of
from vkd.tensor_files import save_tensors
from vkd.training.spec import NoOptions, resolve
from vkd.training.task import Exported, Objects

TEACHER = "teacher"


@dataclass(frozen=True)
class Loading:
    """How networks are loaded.

    Attributes:
        recipe: name or file, where a checkpoint does not name its own.
        size: (height, width) of the images; 0 for the recipe's.
        device: that PyTorch runs on.
        threads: of ONNX Runtime on the CPU.
        onnx: whether to run networks in ONNX Runtime, too.
        folder: for files that are made meanwhile.
    """

    recipe: str
    size: tuple[int, int]
    device: torch.device
    threads: int
    onnx: bool
    folder: Path


def load_student(source: str, how: Loading, student: str | nn.Module | None = None) -> Network:
    """Return the network of a weights file, run folder or ``.onnx`` file.

    Args:
        source: the file or folder.
        how: loading.
        student: the network itself or its name, where it cannot be built from the file alone.

    Raises:
        UserError: if it is none of these, or does not take images of the size.
    """
    return _of_file(STUDENT, source, source, how, student)


def load_rival(
    source: str, checkpoint: str, how: Loading, student: str | nn.Module | None = None
) -> Network:
    """Return the network that a student is compared with.

    Args:
        source: as ``load_student``; ``teacher`` for that of the student's run; or the name of a
            network.
        checkpoint: of the student.
        how: loading.
        student: as ``load_student`` has it.

    Raises:
        UserError: if it is none of these.
    """
    if source != TEACHER and Path(source).exists():
        return _of_file(AGAINST, source, source, how)
    if checkpoint.endswith(".onnx"):
        raise FieldError("against", f"must be a file or run folder beside {checkpoint[-90:]}.")
    read, config = _read(checkpoint, how, student)
    if source == TEACHER:
        return _teacher(read, config, how)
    check_name(source, "against")
    return _of_name(source, source, None, config, how)


def _read(
    source: str, how: Loading, student: str | nn.Module | None
) -> tuple[Checkpoint, TrainingConfig]:
    changes = {"student": student} if isinstance(student, str) else {}
    objects = _objects(student)
    return checkpoint_with_recipe(source, how.recipe, objects, changes, lambda spec: NoOptions)[:2]


def _objects(student: str | nn.Module | None) -> Objects:
    return Objects(student=None if isinstance(student, str) else student)


def _of_file(
    label: str, source: str, path: str, how: Loading, student: str | nn.Module | None = None
) -> Network:
    if path.endswith(".onnx"):
        network = OnnxRuns(Path(path), how.device, how.threads)
        examples = network.examples(how.size)
        return Network(label, source, "", None, examples, Path(path), network, network.notes)
    checkpoint, config = _read(path, how, student)
    spec = task_of(config)
    if spec.export is None:
        raise UserError(f"Models of {spec.name} cannot be measured alone, as none is exported.")
    exported = Exported(*resolve(spec.export)(config, checkpoint, how.size, _objects(student)))
    name = checkpoint.model_name or config.model_names().get("student", "")
    examples = exported.inputs
    try_network(exported.module.eval(), {key: part[:1] for key, part in examples.items()})
    found = Network(label, source, name, exported.module, examples, checkpoint.file)
    if how.onnx:
        _add_onnx(found, exported, how)
    exported.module.to(how.device)
    return found


def _add_onnx(network: Network, exported: Exported, how: Loading) -> None:
    """Write a network as ONNX, and take it for ONNX Runtime's."""
    target = how.folder / f"{network.label}.onnx"
    # What is traced is changed for ONNX.
    copied = exported._replace(module=deepcopy(exported.module))
    try:
        write_program(traced(copied), target, copied, {})
        network.onnx = OnnxRuns(target, how.device, how.threads)
    except (UserError, RunError) as error:
        reason = " ".join(str(error).split())[:120].rstrip(". ")
        network.notes.append(f"not run in ONNX Runtime: {reason}")
    else:
        network.notes += network.onnx.notes


def _teacher(checkpoint: Checkpoint, config: TrainingConfig, how: Loading) -> Network:
    """The teacher of a run: its weights where they are, else the network by its name."""
    name = config.model_names().get(TEACHER)
    if name is None:
        raise FieldError(
            "against", f": the recipe of {str(checkpoint.file)[-120:]} names no teacher."
        )
    if is_code(name):
        raise FieldError("against", f": the teacher is {name[-90:]}; name it to run that file.")
    named = [n.checkpoint for n in config.frozen_networks() if n.role == TEACHER]
    beside = str(checkpoint.file.parent / TEACHER)
    for place in (*named, beside):
        if place in ("", HUB) or not Path(place).exists():
            continue
        read = read_checkpoint(place)
        if read.recipe:
            return _of_file(AGAINST, f"{TEACHER} {name}", place, how)
        return _of_name(name, f"{TEACHER} {name}", read, config, how)
    return _of_name(name, f"{TEACHER} {name}", None, config, how)


def _of_name(
    name: str, source: str, weights: Checkpoint | None, config: TrainingConfig, how: Loading
) -> Network:
    """A network by name as its task exports it: it is written as a run of ``config`` would be."""
    network = create_model(name, weights)
    values: Mapping[str, Any] = asdict(config) | {"objects": {}}
    own = config_of(changed(values, {"student": name, "student_checkpoint": ""}))
    metadata = {"recipe": json.dumps(asdict(own)), "architecture": name}
    published = published_config(network)
    inputs = InputFormat.from_pretrained_cfg(published)
    if inputs is not None and published.get("fixed_input_size"):
        metadata["inputs"] = json.dumps(inputs.as_dict())
    file = how.folder / f"{AGAINST}.safetensors"
    save_tensors(network.state_dict(), file, metadata)
    found = _of_file(AGAINST, source, str(file), how, name)
    found.file = weights.file if weights else None
    if weights is None:
        found.notes.append(f"{name} has random weights, which changes no speed")
    return found
