"""What a check is given: device, sizes, time, and what to do about parts that cannot be run."""

import gc
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

import torch
from torch.utils.benchmark import Timer

from gpu_checks.rows import Row, failed, skipped

T = TypeVar("T")
_ROUNDS = 3


@dataclass(frozen=True)
class Settings:
    """What the command was told.

    Attributes:
        quick: tiny sizes, to try the checks.
        fashion_mnist: folder of the IDX files; empty for Debian's.
    """

    quick: bool
    fashion_mnist: str = ""


class UnavailableError(Exception):
    """Raised for what cannot be run here; its message is the reason."""


class Context:
    """A check's surroundings, in its process.

    Args:
        settings: of the command.
        seconds: that the check may take.

    Attributes:
        device: the GPU, or the CPU where there is none.
        half: the half precision that the device has.
    """

    def __init__(self, settings: Settings, seconds: float) -> None:
        self.settings = settings
        self._end = time.monotonic() + seconds
        self.has_cuda = torch.cuda.is_available()
        self.device = torch.device("cuda" if self.has_cuda else "cpu")
        emulated = self.has_cuda and not torch.cuda.is_bf16_supported(including_emulation=False)
        self.half = torch.float16 if emulated else torch.bfloat16

    @property
    def is_quick(self) -> bool:
        return self.settings.quick

    def sized(self, full: T, tiny: T) -> T:
        """Return ``full``, or ``tiny`` in a quick run."""
        return tiny if self.is_quick else full

    def left(self) -> float:
        """Return the seconds that are left."""
        return self._end - time.monotonic()

    def require_cuda(self) -> None:
        """Raise ``UnavailableError`` on the CPU."""
        if not self.has_cuda:
            raise UnavailableError("needs CUDA")

    def require(self, dtype: torch.dtype) -> None:
        """Raise ``UnavailableError`` for numbers that the device does not compute with."""
        if dtype == torch.float16:
            self.require_cuda()
        if dtype == torch.bfloat16 and self.half != dtype:
            raise UnavailableError("the device has no bfloat16")

    def part(self, what: str, rows: Iterable[Row]) -> Iterator[Row]:
        """Yield the rows of a part; where it cannot be run or fails, a row that says so.

        Args:
            what: the part.
            rows: a generator, which runs here.
        """
        if self.left() <= 0:
            yield skipped(what, "no time was left")
            return
        try:
            if self.has_cuda:
                # What an earlier part left in cycles would count as this one's memory.
                gc.collect()
                torch.cuda.empty_cache()
            yield from rows
        except UnavailableError as reason:
            yield skipped(what, str(reason))
        except ModuleNotFoundError as error:
            package = package_of(error)
            # What is missing of ours is a fault.
            tell = failed if package in ("vkd", "gpu_checks") else skipped
            yield tell(what, f"{package} is not installed")
        except torch.OutOfMemoryError:
            yield skipped(what, "does not fit into the device's memory")
        except Exception as error:
            yield failed(what, one_line(error))

    def seconds(
        self, runs: Mapping[str, Callable[[], object]], at_least: float = 0.6
    ) -> dict[str, float]:
        """Return the median seconds of each function, measured in turns after warming up.

        Args:
            runs: functions by name; the device is waited for by the timer.
            at_least: seconds to measure each for.
        """
        for run in runs.values():
            for _ in range(self.sized(3, 1)):
                run()
        rounds = self.sized(_ROUNDS, 1)
        times: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(rounds):
            for name, run in runs.items():
                timer = Timer("run()", globals={"run": run}, num_threads=torch.get_num_threads())
                found = timer.blocked_autorange(min_run_time=self.sized(at_least / rounds, 1e-3))
                times[name].append(found.median)
        return {name: median(every) for name, every in times.items()}

    def peak_memory(self, run: Callable[[], object]) -> str:
        """Return the most memory that a run of a function takes on CUDA, in words; else nothing."""
        if not self.has_cuda:
            return ""
        torch.cuda.reset_peak_memory_stats()
        run()
        torch.cuda.synchronize()
        return f"peak memory {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB"


def package_of(error: ModuleNotFoundError) -> str:
    """Return the name of the package that is missing."""
    return (error.name or str(error)).partition(".")[0]


def one_line(error: Exception) -> str:
    """Return an error's kind and first line."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the length of the difference, divided by that of ``expected``."""
    expected = expected.double()
    return float((found.double() - expected).norm() / expected.norm())
