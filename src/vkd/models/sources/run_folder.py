"""Run folders and weights files as names: they say which network their weights are of."""

import os
import re
from pathlib import Path

from vkd.errors import UserError, shortened
from vkd.models.checkpoints import Checkpoint, checkpoint_file, read_checkpoint
from vkd.network_names import is_code, is_run

# What may be meant to be OWNER/NAME on the hub, and is no path.
_ON_HUB = re.compile(r"\w[\w.-]{0,60}/\w[\w.-]{0,60}")


def model_of(path: str | Path | Checkpoint) -> tuple[str, Checkpoint]:
    """Return the name of the model that a checkpoint's weights are of, and the checkpoint.

    Raises:
        UserError: if there is none, it does not say, or its model is a file of Python, which is run
            only where the user names it.
    """
    read = path if isinstance(path, Checkpoint) else read_checkpoint(path)
    name = read.model_name or read.architecture
    file = shortened(read.file, 100)
    if not name or name in read.recipe.get("objects", {}).values():
        raise UserError(
            f"{file} does not say which model its weights are of; name the model, and give the "
            "file as its checkpoint."
        )
    if is_code(name):
        raise UserError(
            f"{file} is of a network in a file of Python, {shortened(name, 80)}, which runs only "
            "where you name it: name that, and give the file as its checkpoint."
        )
    if is_run(name):
        raise UserError(f"{file} names {shortened(name, 80)} as its model, which is no model.")
    return name, read


def run_problem(own: str) -> str:
    """Return what is wrong with a path, as the rest of a sentence; empty if nothing is."""
    try:
        checkpoint_file(own)
    except UserError:
        is_name = _ON_HUB.fullmatch(own) and not os.path.exists(own.split("/")[0])
        hint = f"; of Hugging Face it is hf/{own}" if is_name else ""
        return f"there is no run folder, weights file or model {shortened(own, 100)!r}{hint}"
    return ""
