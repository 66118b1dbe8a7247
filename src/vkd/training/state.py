"""What decides how a run goes on: networks, optimisers, averages, scales and random numbers."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from safetensors.torch import load_file
from torch import Tensor, nn

from vkd.errors import UserError
from vkd.tensor_files import save_tensors
from vkd.training.nested import load_nested, save_nested
from vkd.training.optimization import load_optimizer

_AVERAGE, _SCALER = "average.safetensors", "scaler.safetensors"


@dataclass(frozen=True)
class Gathered:
    """What the main process writes of a state, by file name.

    Attributes:
        tensors: of networks.
        nested: states of optimisers and scales.
    """

    tensors: dict[str, dict[str, Any]]
    nested: dict[str, Any]

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        return _size([self.tensors, self.nested])


class RunState:
    """Reads and writes the state of what is trained, in files without code.

    A state is a folder of one file for each network and optimiser, which the main process writes,
    and one for each process, with its random numbers and what it has summed of the epoch. What is
    sharded is gathered.

    Args:
        accelerator: of the processes.
        modules: what is trained, as accelerate has prepared it.
        optimizers: of each.
        average: the model whose weights are an average; None where there is none.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        modules: Sequence[nn.Module],
        optimizers: Sequence[Any],
        average: nn.Module | None,
    ) -> None:
        self.accelerator, self.modules, self.optimizers = accelerator, modules, optimizers
        self.average = average
        self._is_sharded = accelerator.distributed_type == DistributedType.FSDP

    def gathered(self) -> Gathered:
        """Return what the main process writes; all processes take part."""
        # Here, as the first step need not wait for it.
        from torch.distributed.checkpoint.state_dict import (
            StateDictOptions,
            get_model_state_dict,
            get_optimizer_state_dict,
        )

        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        tensors: dict[str, dict[str, Any]] = {
            _network(index): get_model_state_dict(module, options=options)
            for index, module in enumerate(self.modules)
        }
        nested: dict[str, Any] = {
            _optimizer(index): (
                get_optimizer_state_dict(module, optimizer.optimizer, options=options)
                if self._is_sharded
                else optimizer.state_dict()
            )
            for index, (module, optimizer) in enumerate(self._pairs())
        }
        if self.average is not None:
            tensors[_AVERAGE] = self.average.state_dict()
        if self.accelerator.scaler is not None:
            nested[_SCALER] = self.accelerator.scaler.state_dict()
        return Gathered(tensors, nested)

    def _pairs(self) -> list[tuple[nn.Module, Any]]:
        return list(zip(self.modules, self.optimizers, strict=True))

    def write(self, folder: Path, gathered: Gathered) -> None:
        """Write what was gathered; on the main process."""
        for name, tensors in gathered.tensors.items():
            save_tensors(tensors, folder / name, {})
        for name, state in gathered.nested.items():
            save_nested(state, folder / name)

    def write_own(self, folder: Path, sums: Any) -> None:
        """Write a process's random numbers, and its ``sums``; on every process."""
        save_nested({"random": random_states(), "sums": sums}, folder / self._own)

    @property
    def _own(self) -> str:
        return f"process-{self.accelerator.process_index}.safetensors"

    def load(self, folder: Path) -> None:
        """Take over the networks, optimisers, average and scale of a state; on every process.

        Raises:
            UserError: if a file is not there or damaged, or of other networks.
        """
        from torch.distributed.checkpoint.state_dict import (
            StateDictOptions,
            set_model_state_dict,
            set_optimizer_state_dict,
        )

        options = StateDictOptions(
            full_state_dict=True, broadcast_from_rank0=self._is_sharded, strict=True
        )
        reads = not self._is_sharded or self.accelerator.is_main_process
        for index, module in enumerate(self.modules):
            tensors: dict[str, Any] = _tensors(folder / _network(index)) if reads else {}
            set_model_state_dict(module, tensors, options=options)
        for index, (module, optimizer) in enumerate(self._pairs()):
            state = load_nested(folder / _optimizer(index)) if reads else {}
            if self._is_sharded:
                set_optimizer_state_dict(module, optimizer.optimizer, state, options=options)
            else:
                load_optimizer(optimizer.optimizer, state)
        if self.average is not None:
            self.average.load_state_dict(_tensors(folder / _AVERAGE))
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(load_nested(folder / _SCALER))

    def load_own(self, folder: Path) -> Any | None:
        """Take over a process's random numbers, and return its sums.

        None where the state is of fewer processes: this one then goes on with its own.

        Raises:
            UserError: if its file is damaged, or random numbers are missing.
        """
        file = folder / self._own
        if self.accelerator.process_index and not file.exists():
            return None
        saved = load_nested(file)
        try:
            set_random_states(saved["random"])
            return saved["sums"]
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise UserError(
                f"{file} lacks random numbers of a process ({type(error).__name__}: "
                f"{str(error)[:60]})."
            ) from None


def _size(state: Any) -> int:
    """Bytes of all tensors in nested dicts, lists and tuples."""
    if isinstance(state, Tensor):
        return state.nbytes
    if isinstance(state, Mapping):
        return sum(map(_size, state.values()))
    return sum(map(_size, state)) if isinstance(state, list | tuple) else 0


def random_states() -> dict[str, Any]:
    """Return the states of all random numbers that a process draws."""
    kind, keys, *rest = np.random.get_state()
    found: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(np.asarray(keys).copy()), *rest),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        found["cuda"] = torch.cuda.get_rng_state()
    if torch.backends.mps.is_available():
        found["mps"] = torch.mps.get_rng_state()
    return found


def set_random_states(states: Mapping[str, Any]) -> None:
    """Take back ``random_states``; those of a device that is not here are left.

    Raises:
        KeyError: if those are missing that every machine has.
    """
    kind, keys, *rest = states["numpy"]
    random.setstate(states["python"])
    np.random.set_state((kind, keys.numpy(), *rest))
    torch.set_rng_state(states["torch"])
    if torch.cuda.is_available() and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"])
    if torch.backends.mps.is_available() and "mps" in states:
        torch.mps.set_rng_state(states["mps"])


def _network(index: int) -> str:
    return f"network-{index}.safetensors"


def _optimizer(index: int) -> str:
    return f"optimizer-{index}.safetensors"


def _tensors(file: Path) -> dict[str, Any]:
    try:
        return load_file(file)
    except Exception as error:  # safetensors has errors of its own for each fault
        raise UserError(f"{file} cannot be read: {' '.join(str(error).split())[:80]}.") from None
