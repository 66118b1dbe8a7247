"""The weights that a run is for, and what it keeps beside them."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch import nn

from vkd.config import TrainingConfig
from vkd.tensor_files import save_tensors
from vkd.training.task import NamesOptions, Task
from vkd.versions import versions


def save_weights(
    folder: Path,
    task: Task,
    config: TrainingConfig,
    accelerator: Accelerator,
    modules: Sequence[nn.Module],
    average: nn.Module | None,
    epoch: int,
) -> None:
    """Write the deployed weights and what belongs to them; all processes take part.

    Args:
        folder: gets ``model.safetensors``, and a file for each of ``Task.extra_tensors``.
        task: whose networks.
        config: the recipe.
        accelerator: of the processes.
        modules: of the task's steps, as accelerate has prepared them; each process may hold a
            shard.
        average: the model with averaged weights, which are deployed where there are such.
        epoch: finished epochs.
    """
    # Here, as the first step need not wait for it.
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    states: list[dict[str, Any]] = [
        dict(get_model_state_dict(module, options=options)) for module in modules
    ]
    if not accelerator.is_main_process:
        return
    metadata = task.metadata() | _origin(config) | {"epoch": str(epoch)}
    if isinstance(task.model, NamesOptions):
        metadata["options"] = json.dumps(dict(task.model.build_options))
    first = task.steps[0].module
    weights = first.state_of(first.deployed, states[0])
    if average is not None:
        weights = average.state_dict()
    save_tensors(weights, folder / "model.safetensors", metadata)
    for name, tensors in task.extra_tensors(states).items():
        save_tensors(tensors, folder / f"{name}.safetensors", metadata)


def _origin(config: TrainingConfig) -> dict[str, str]:
    """What a weights file says of the run that it is from."""
    found = {"recipe": json.dumps(asdict(config)), "versions": json.dumps(versions())}
    name = (config.model_names() | config.objects).get("student", "")
    return found | ({"architecture": name} if name else {})
