"""What runs a network: PyTorch, as it is or compiled, and ONNX Runtime."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vkd.errors import FieldError, RunError, UserError, reason_of
from vkd.models.onnx_network import open_session
from vkd.speed.rounds import Call

PYTORCH, COMPILED, ONNX = "pytorch", "compiled", "onnxruntime"
NO_ONNX = "not run in ONNX Runtime, which needs more packages: pip install 'vkd[onnx]'"
# What torch.onnx and ONNX Runtime need.
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def device_named(name: str) -> torch.device:
    """Return a device of this machine; ``auto`` takes CUDA, then MPS, then the CPU.

    Raises:
        FieldError: if there is no such device here.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        return torch.device(next(kind for kind, is_here in available.items() if is_here))
    if name not in available:
        raise FieldError("device", f"must be one of auto, cpu, cuda, mps, found {name}.")
    if not available[name]:
        raise FieldError("device", f"{name} is not available here; use auto or cpu.")
    return torch.device(name)


def batch_of(examples: Mapping[str, Tensor], size: int) -> dict[str, Tensor]:
    """Return a batch of so many samples like the first of ``examples``.

    Numbers are drawn from a normal distribution, the same each time; labels and masks stay.
    """
    draw = torch.Generator().manual_seed(0)
    found = {}
    for name, example in examples.items():
        shape = (size, *example.shape[1:])
        if example.is_floating_point():
            found[name] = torch.randn(shape, generator=draw, dtype=example.dtype)
        else:
            found[name] = example[:1].expand(shape).contiguous()
    return found


def in_pytorch(module: nn.Module, inputs: Mapping[str, Tensor], device: torch.device) -> Call:
    """Return what runs a network, in eval mode and on its device, on a batch, and waits for it."""
    placed = [part.to(device) for part in inputs.values()]

    def run() -> object:
        with torch.inference_mode():
            found = module(*placed)
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        return found

    return run


def try_network(module: nn.Module, inputs: Mapping[str, Tensor]) -> None:
    """Run a network once.

    Raises:
        UserError: if it does not take the inputs.
    """
    try:
        with torch.inference_mode():
            module(*inputs.values())
    except (AssertionError, IndexError, RuntimeError, TypeError, ValueError) as error:
        if "memory" in str(error):  # for the command to tell
            raise
        shapes = ", ".join(str(tuple(part.shape)) for part in inputs.values())
        raise UserError(
            f"The model does not take inputs of {shapes} (--height, --width): {reason_of(error)}."
        ) from None


def compiled(module: nn.Module) -> nn.Module:
    """Return a network that torch compiles when it is first called."""
    return torch.compile(module, dynamic=False)  # type: ignore[return-value]


def run_compiled(call: Call) -> None:
    """Call a compiled network for the first time.

    Raises:
        RunError: if it cannot be compiled here.
    """
    try:
        call()
    # What fails in torch's compiler, or in that of the system, is of no fixed kind.
    except Exception as error:
        raise RunError(f"The network cannot be compiled here: {reason_of(error)}.") from error


def has_onnx() -> bool:
    """Return whether the packages that ONNX needs are installed."""
    return all(find_spec(name) for name in _PACKAGES)


class OnnxRuns:
    """An ``.onnx`` file in ONNX Runtime.

    Args:
        file: the network.
        device: of the machine; on CUDA its provider is used where it is installed.
        threads: on the CPU.

    Attributes:
        notes: what is replaced.

    Raises:
        UserError: if the file is no network, or ONNX Runtime is not installed.
    """

    def __init__(self, file: Path, device: torch.device, threads: int) -> None:
        if not has_onnx():
            raise UserError(f"{file}: {NO_ONNX}.")
        import onnxruntime

        known = onnxruntime.get_available_providers()
        self.notes: list[str] = []
        providers = ["CPUExecutionProvider"]
        if device.type == "cuda" and "CUDAExecutionProvider" in known:
            providers.insert(0, "CUDAExecutionProvider")
        elif device.type != "cpu":
            self.notes.append(f"ONNX Runtime runs on the CPU, as it has no {device.type} here")
        self._session: Any = open_session(file, threads, providers)

    def examples(self, size: tuple[int, int] = (0, 0)) -> dict[str, Tensor]:
        """Return examples of the inputs, one sample each.

        Args:
            size: height and width, where the file leaves them open.

        Raises:
            UserError: if the shape of an input is not known.
        """
        given = [side for side in size if side]
        kinds = {"tensor(float)": torch.float32, "tensor(int64)": torch.int64,
                 "tensor(bool)": torch.bool}  # fmt: skip
        found = {}
        for part in self._session.get_inputs():
            sides = [side for side in part.shape[1:] if isinstance(side, int)]
            opened = len(part.shape) - 1 - len(sides)
            if part.type not in kinds or (opened and opened != len(given)):
                raise UserError(
                    f"The input {part.name} of the .onnx file has the shape {part.shape} and type "
                    f"{part.type}; give height and width (--height, --width) where they are open."
                )
            rest = iter(given)
            shape = [side if isinstance(side, int) else next(rest) for side in part.shape[1:]]
            found[part.name] = torch.zeros(1, *shape, dtype=kinds[part.type])
        return found

    def on(self, inputs: Mapping[str, Tensor]) -> Call:
        """Return what runs the network on a batch."""
        names = {part.name for part in self._session.get_inputs()}
        # An input that decides nothing is not in the file.
        arrays = {name: part.numpy() for name, part in inputs.items() if name in names}
        return lambda: self._session.run(None, arrays)
