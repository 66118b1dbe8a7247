"""What a measurement of speed found, and its form as JSON.

``bench.json`` has the entries

- ``schema``: 1;
- ``environment``: date, versions and hardware; ``device`` and ``threads``;
- ``settings``: ``batch_sizes``, ``rounds`` and ``seconds`` at most;
- ``networks``: of each ``label`` (student or against), ``source``, ``name``, ``parameters`` and
  ``macs`` of one sample (null for a file that does not tell), ``file_bytes`` (null for weights that
  lie in no file), and ``inputs``, the shapes of one sample by name;
- ``timings``: of each ``network`` (its label), ``runtime`` and ``batch_size`` the ``rounds`` taken,
  ``latency_ms`` of a batch (``median``, ``p10``, ``p90``) and ``images_per_second`` at the median;
- ``ratios``: of each ``runtime`` and ``batch_size`` that both networks ran in, ``times_as_fast``
  (``median``, ``p10``, ``p90``): how many times as long ``against`` took in the same round;
- ``notes``: what was left out or replaced.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

STUDENT, AGAINST = "student", "against"


@dataclass(frozen=True)
class MeasuredNetwork:
    """A network that was measured.

    Attributes:
        label: student or against.
        source: the file, folder or name that it was given as.
        name: of the model; empty where it is not known.
        parameters: their number; None where it is not known.
        macs: multiply-adds of one sample; likewise.
        file_bytes: size of the weights' file; None where they lie in none.
        inputs: shapes of one sample by name.
    """

    label: str
    source: str
    name: str
    parameters: int | None
    macs: int | None
    file_bytes: int | None
    inputs: dict[str, list[int]]


@dataclass(frozen=True)
class Timing:
    """The rounds of one network in one runtime.

    Attributes:
        network: its label.
        runtime: pytorch, compiled or onnxruntime.
        batch_size: samples of a batch.
        seconds: that a batch took, in each round.
    """

    network: str
    runtime: str
    batch_size: int
    seconds: Sequence[float]

    @property
    def latency(self) -> dict[str, float]:
        """Milliseconds of a batch: ``median``, ``p10`` and ``p90``."""
        return _spread([1000 * value for value in self.seconds])

    @property
    def images_per_second(self) -> float:
        """Samples a second at the median."""
        return 1000 * self.batch_size / self.latency["median"]

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON knows."""
        return {
            "network": self.network,
            "runtime": self.runtime,
            "batch_size": self.batch_size,
            "rounds": len(self.seconds),
            "latency_ms": {name: _short(value) for name, value in self.latency.items()},
            "images_per_second": _short(self.images_per_second),
        }


@dataclass(frozen=True)
class Ratio:
    """How many times as fast the student is, in rounds that both took in turn.

    Attributes:
        runtime: of both.
        batch_size: samples of a batch.
        times: ``median``, ``p10`` and ``p90`` of the quotients of a round.
    """

    runtime: str
    batch_size: int
    times: dict[str, float]


@dataclass(frozen=True)
class SpeedReport:
    """What ``vkd.bench`` found; the module's docstring explains its form as JSON.

    Attributes:
        networks: the student, and what it was compared with.
        timings: in the order of batch sizes.
        device: that PyTorch ran on.
        threads: of each runtime on the CPU.
        settings: how much was measured.
        environment: date, versions and hardware.
        notes: what was left out or replaced.
    """

    networks: list[MeasuredNetwork]
    timings: list[Timing]
    device: str
    threads: int
    settings: dict[str, Any]
    environment: dict[str, str]
    notes: list[str] = field(default_factory=list)

    @property
    def ratios(self) -> list[Ratio]:
        """What both networks ran in, compared round by round."""
        by_place = {(t.network, t.runtime, t.batch_size): t.seconds for t in self.timings}
        found = []
        for (network, runtime, size), seconds in by_place.items():
            other = by_place.get((AGAINST, runtime, size))
            if network == STUDENT and other is not None:
                quotients = [b / a for a, b in zip(seconds, other, strict=True)]
                found.append(Ratio(runtime, size, _spread(quotients)))
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON knows."""
        return {
            "schema": 1,
            "environment": self.environment,
            "device": self.device,
            "threads": self.threads,
            "settings": self.settings,
            "networks": [asdict(network) for network in self.networks],
            "timings": [timing.as_dict() for timing in self.timings],
            "ratios": [
                {
                    "runtime": ratio.runtime,
                    "batch_size": ratio.batch_size,
                    "times_as_fast": {name: _short(value) for name, value in ratio.times.items()},
                }
                for ratio in self.ratios
            ],
            "notes": self.notes,
        }


def _spread(values: Sequence[float]) -> dict[str, float]:
    low, middle, high = np.percentile(values, (10, 50, 90)).tolist()
    return {"median": middle, "p10": low, "p90": high}


def _short(value: float) -> float:
    return float(f"{value:.5g}")
