"""Reading and writing of run folders: resumable state, weights and metrics, never half-written."""

import json
import os
import shutil
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from safetensors.torch import save_file
from torch import Tensor

from vkd.config import TrainingConfig, config_of, read_recipe, write_recipe
from vkd.errors import UserError

# These change how fast a run goes, or where, but not what it computes.
_FREE_ON_RESUME = {"device", "workers", "tensorboard", "checkpoint_every", "compile"}


@dataclass
class Progress:
    """How far a run has come: finished ``epoch``s and optimiser ``updates``."""

    epoch: int = 0
    updates: int = 0


def open_run_folder(folder: Path, config: TrainingConfig, resume: bool) -> None:
    """Make a run folder with its recipe, or check that a run in it can go on.

    Raises:
        UserError: if the folder holds a run or other files and ``resume`` is False, or resuming
            would change what the run computes.
    """
    recipe = folder / "recipe.yaml"
    if not recipe.is_file():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(f"--output {folder} exists and is not a run; name a new folder.")
        folder.mkdir(parents=True, exist_ok=True)
        write_recipe(config, recipe)
        return
    if not resume:
        raise UserError(
            f"--output {folder} already holds a run; go on with --resume or name a new folder."
        )
    before, now = asdict(config_of(read_recipe(str(recipe)))), asdict(config)
    for name in before.keys() - _FREE_ON_RESUME:
        if before[name] != now[name]:
            flag = "--" + name.replace("_", "-")
            raise UserError(
                f"{flag} is {now[name]!r} but the run in {folder} has {before[name]!r}; "
                "a resumed run cannot change it."
            )


def save_state(accelerator: Accelerator, folder: Path, progress: Progress) -> None:
    """Save all that resuming needs; the state before stays until the new one is whole."""
    name = f"epoch-{progress.epoch:05d}"
    partial = folder / "checkpoints" / f"{name}.partial"
    if accelerator.is_main_process:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(partial))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        (partial / "progress.json").write_text(json.dumps(asdict(progress)))
        shutil.rmtree(partial.with_name(name), ignore_errors=True)
        partial.rename(partial.with_name(name))
        for older in _states(folder)[:-1]:
            shutil.rmtree(older)
    accelerator.wait_for_everyone()


def load_state(accelerator: Accelerator, folder: Path) -> Progress:
    """Load the newest state of a run folder; a folder without one starts at the beginning."""
    states = _states(folder)
    if not states:
        return Progress()
    accelerator.load_state(str(states[-1]))
    saved = json.loads((states[-1] / "progress.json").read_text())
    return Progress(**{field.name: saved[field.name] for field in fields(Progress)})


def _states(folder: Path) -> list[Path]:
    return sorted(
        path for path in (folder / "checkpoints").glob("epoch-*") if path.suffix != ".partial"
    )


def save_tensors(tensors: dict[str, Tensor], file: Path, metadata: dict[str, str]) -> None:
    """Write safetensors in one step, so that a reader never meets half a file."""
    partial = file.with_suffix(".partial")
    # Cloned, as heads that are shared would share storage, which safetensors refuses.
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    save_file(tensors, partial, metadata)
    os.replace(partial, file)


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Return the epochs of a run's ``metrics.jsonl``, oldest first.

    Raises:
        UserError: if the folder holds no run.
    """
    file = folder / "metrics.jsonl"
    if not file.is_file():
        raise UserError(f"{folder} is not a run folder: it has no metrics.jsonl.")
    return [json.loads(line) for line in file.read_text().splitlines() if line.endswith("}")]
