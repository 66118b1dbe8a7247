"""A few real training steps of a recipe in a process of its own: seconds, reading, memory.

The process is its own, so that its memory is that of training alone, and that a machine which ends
it for lack of memory ends nothing else.
"""

import json
import logging
import resource
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

from vkd.config import TrainingConfig
from vkd.errors import FieldError, RunError, UserError, lack_of_memory, shortened

if TYPE_CHECKING:
    import torch

    from vkd.training.trainer import Trainer

STEPS, SECONDS = 10, 60.0
_WARM_UP, _FEWEST = 2, 3
# Of the machine's memory, what a process of training may take.
_SHARE = 0.9


@dataclass(frozen=True)
class Trial:
    """What the steps of a recipe took.

    Attributes:
        batch_size: images of a step.
        steps: that were measured, after some to warm up.
        seconds: of a step, the median.
        reading: share of the time that was spent on waiting for images.
        updates: steps of an epoch.
        memory: bytes, the most that the process, or on CUDA its tensors, took.
        available: bytes that there were before.
        device: that it ran on.
    """

    batch_size: int
    steps: int
    seconds: float
    reading: float
    updates: int
    memory: int
    available: int
    device: str

    @property
    def images_per_second(self) -> float:
        """Images a second at the median."""
        return self.batch_size / self.seconds

    @property
    def fits(self) -> bool:
        """Whether memory was left."""
        return self.memory <= _SHARE * self.available

    def epochs_take(self, epochs: int) -> float:
        """Return the seconds of so many epochs, without evaluations and checkpoints."""
        return epochs * self.updates * self.seconds


class TooLargeError(RunError):
    """A step that does not fit the memory of the machine."""


def try_out(config: TrainingConfig, steps: int = STEPS, seconds: float = SECONDS) -> Trial:
    """Train some steps by a recipe in another process, and keep nothing of them.

    Args:
        config: the recipe.
        steps: to measure.
        seconds: after which no further step begins, but for the first three.

    Raises:
        UserError: what training would refuse.
        TooLargeError: if memory does not suffice.
        RunError: if the process fails otherwise.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # Not as a recipe, which may not name files of Python: here the user has named them.
        (folder / "fields.json").write_text(json.dumps(asdict(config)))
        command = [sys.executable, "-m", "vkd.init.trial", name, str(steps), str(seconds)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        answer = folder / "answer.json"
        found: dict[str, Any] = json.loads(answer.read_text()) if answer.is_file() else {}
    if "trial" in found:
        return Trial(**found["trial"])
    if "field" in found:
        raise FieldError(found["field"], found["text"])
    if "user" in found:
        raise UserError(found["user"])
    if "memory" in found or done.returncode == -9:
        raise TooLargeError(f"A step of {config.batch_size} images does not fit the memory here.")
    raise RunError(found.get("run") or f"The trial of a step ended with code {done.returncode}.")


def _answer(folder: Path, steps: int, seconds: float) -> dict[str, Any]:
    """What the other process writes."""
    from vkd.plugins import load_plugins
    from vkd.recipe import config_of

    try:
        load_plugins()
        config = config_of(json.loads((folder / "fields.json").read_text()))
        return {"trial": asdict(_trial(config, folder, steps, seconds))}
    except FieldError as error:
        return {"field": error.field, "text": error.text}
    except UserError as error:
        return {"user": str(error)}
    except Exception as error:
        if lack_of_memory(error) is not None:
            return {"memory": str(error)[:200]}
        if not isinstance(error, RunError | OSError):
            raise
        return {"run": shortened(error, 250)}


def _trial(config: TrainingConfig, folder: Path, steps: int, seconds: float) -> Trial:
    import torch

    from vkd.training.accelerator import make_accelerator

    device = make_accelerator(config).device
    available = _available(device)
    trainer = _trainer(replace(config, trackers="", log_every=0), folder / "run")
    # Workers have read so many batches ahead of the first step.
    warm_up = _WARM_UP + 2 * config.workers
    taken: list[tuple[float, float]] = []
    began = before = perf_counter()
    for waited in trainer.trial(warm_up + steps):
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        now = perf_counter()
        taken.append((now - before, waited))
        before = now
        if now - began > seconds and len(taken) > _FEWEST:
            break
    measured = taken[min(warm_up, len(taken) - min(steps, _FEWEST)) :]
    times, waits = zip(*measured, strict=True)
    return Trial(
        config.batch_size, len(times), median(times), sum(waits) / sum(times),
        len(trainer.train_batches), _memory(device), available, str(device),
    )  # fmt: skip


def _trainer(config: TrainingConfig, folder: Path) -> "Trainer":
    """The trainer of a recipe, as ``vkd.train`` makes it."""
    from accelerate.utils import set_seed

    from vkd.api.networks import check_networks, with_runs_resolved
    from vkd.tasks import check_method, task_of
    from vkd.training.accelerator import make_accelerator
    from vkd.training.optimization import check_training
    from vkd.training.precision import settle_precision
    from vkd.training.spec import resolve
    from vkd.training.task import Objects
    from vkd.training.trainer import Trainer

    config = with_runs_resolved(config)
    check_training(config)
    check_networks(config)
    check_method(config)
    folder.mkdir()
    accelerator = make_accelerator(config)
    set_seed(config.seed)
    task = resolve(task_of(config).task)(config, Objects())
    trainer = Trainer(task, config, folder, accelerator, show=False)
    settle_precision(task.step_teacher(), accelerator, folder, False, config.channels_last)
    return trainer


def _available(device: "torch.device") -> int:
    """Bytes that training may take: free ones, and those that this process has already."""
    import psutil
    import torch

    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available + psutil.Process().memory_info().rss


def _memory(device: "torch.device") -> int:
    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024


def main(arguments: list[str]) -> int:
    """Write the answer for a folder with a recipe, and return the exit code."""
    logging.basicConfig(format="vkd: %(message)s", level=logging.WARNING)
    place, steps, seconds = arguments
    folder = Path(place)
    try:
        answer = _answer(folder, int(steps), float(seconds))
    except KeyboardInterrupt:  # the process that waits says so
        return 130
    (folder / "answer.json").write_text(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
