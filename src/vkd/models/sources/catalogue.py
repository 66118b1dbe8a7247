"""The source of each name: the one place that tells them apart."""

import os
from pathlib import Path

from vkd.models.checkpoints import Checkpoint
from vkd.models.sources import hugging_face, python_file, run_folder, timm, torchvision
from vkd.models.sources.source import Source
from vkd.network_names import is_run, parse

_SOURCES: dict[str, Source] = {
    "timm": timm.SOURCE,
    "torchvision": torchvision.SOURCE,
    "hugging_face": hugging_face.SOURCE,
    "python_file": python_file.SOURCE,
}


def source_of(name: str) -> tuple[Source, str]:
    """Return what builds the network of a name, which is no run folder's, and its name there."""
    source, own = parse(name)
    return _SOURCES[source], own


def resolved(
    name: str, checkpoint: str | Path | Checkpoint | None
) -> tuple[str, str | Path | Checkpoint | None]:
    """Return the name of a model and its checkpoint, where a name may be a run folder's or file's.

    Raises:
        UserError: if a run folder or file does not say which model its weights are of.
    """
    if not is_run(name):
        return name, checkpoint
    model, read = run_folder.model_of(name)
    return model, checkpoint or read


def problem_of(name: str) -> str:
    """Return what is wrong with a name, as the rest of a sentence; empty if nothing is."""
    if is_run(name):
        return run_folder.run_problem(parse(name).own)
    source, own = source_of(name)
    problem = source.problem(own)
    if problem and os.path.exists(name):
        return f"{problem.rstrip('.')}; what lies here by that name is ./{name}"
    return problem
