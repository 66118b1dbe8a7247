"""``vkd.bench``."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn

from vkd.api.bench_networks import Loading, load_rival, load_student
from vkd.errors import FieldError
from vkd.files import write_json
from vkd.notes import say
from vkd.places import check_place
from vkd.ranges import LARGEST_SIDE, require_range
from vkd.reporting.environment import environment
from vkd.speed.networks import Network
from vkd.speed.results import SpeedReport, Timing
from vkd.speed.rounds import in_turns
from vkd.speed.runtimes import NO_ONNX, device_named, has_onnx

FILE = "bench.json"
# Of a batch, as exported files take them.
_MOST = 1024


def bench(
    checkpoint: str | Path,
    against: str | Path = "",
    recipe: str = "",
    *,
    student: str | nn.Module | None = None,
    batch_sizes: Sequence[int] = (1, 32),
    size: tuple[int, int] = (0, 0),
    device: str = "auto",
    threads: int = 0,
    compile: bool = False,
    onnx: bool = True,
    rounds: int = 100,
    seconds: float = 10.0,
    save: bool = False,
) -> SpeedReport:
    """Measure how fast a checkpoint's network is on this machine, beside another's.

    All networks and runtimes take turns, so that their ratios are of one time: PyTorch as it is
    and compiled, and ONNX Runtime where it is installed. Inputs are made; reading and preparing of
    pictures is not measured.

    Args:
        checkpoint: weights file, run folder or ``.onnx`` file.
        against: another of these; ``teacher`` for the run's own; or the name of a network, whose
            weights are then random, which changes no speed.
        recipe: name or file, where a checkpoint does not name its own.
        student: your own network, where the run was trained with one; or its name, as for
            ``vkd.evaluate``.
        batch_sizes: samples of a batch, 1 to 1024.
        size: (height, width) of the images; 0 for the recipe's.
        device: auto, cpu, cuda or mps.
        threads: of each runtime on the CPU; 0 for as many as PyTorch takes by itself.
        compile: measure ``torch.compile`` too.
        onnx: measure ONNX Runtime too, where it is installed.
        rounds: that each takes for a batch size, at most.
        seconds: for a batch size, after which no further round begins, but for the first five.
        save: keep the result in the run folder as ``bench.json``, for reports.

    Raises:
        UserError: for what is no checkpoint, an argument out of range, images that a network does
            not take, or a result that is there already.
        RunError: if a network cannot be compiled.
    """
    _check(batch_sizes, size, threads, rounds, seconds)
    target = _target(Path(checkpoint)) if save else None
    place = device_named(device)
    with _threads(threads) as used, TemporaryDirectory() as folder:
        how = Loading(recipe, size, place, used, onnx and has_onnx(), Path(folder))
        networks = [load_student(str(checkpoint), how, student)]
        if against:
            networks.append(load_rival(str(against), str(checkpoint), how, student))
        notes = [f"{network.label}: {note}" for network in networks for note in network.notes]
        notes += [NO_ONNX] * (onnx and not has_onnx())
        say("bench", notes)
        report = SpeedReport(
            networks=[network.measured() for network in networks],
            timings=[
                timing
                for batch_size in batch_sizes
                for timing in _timings(networks, batch_size, place, compile, rounds, seconds)
            ],
            device=str(place),
            threads=used,
            settings={"batch_sizes": list(batch_sizes), "rounds": rounds, "seconds": seconds},
            environment=environment(),
            notes=notes,
        )
    if target is not None:
        write_json(target, report.as_dict())
    return report


def _check(
    batch_sizes: Sequence[int], size: tuple[int, int], threads: int, rounds: int, seconds: float
) -> None:
    wrong = next((number for number in batch_sizes if not 1 <= number <= _MOST), None)
    if wrong is not None or not batch_sizes:
        found = "none" if wrong is None else wrong
        raise FieldError("batch_sizes", f"must be numbers from 1 to {_MOST}, found {found}.")
    for name, side in zip(("height", "width"), size, strict=True):
        require_range(name, side, 0, LARGEST_SIDE)
    require_range("threads", threads, 0, _MOST)
    require_range("rounds", rounds, 1, 10**9)
    require_range("seconds", seconds, 0, 10**9)


def _target(folder: Path) -> Path:
    """The file that keeps a result in a run folder."""
    file = folder / FILE
    if not folder.is_dir():
        raise FieldError("save", f"needs a run folder as checkpoint, found {str(folder)[-150:]}.")
    if file.exists():
        raise FieldError("save", f": {str(file)[-150:]} exists already; remove it first.")
    check_place(file, "save")
    return file


@contextmanager
def _threads(number: int) -> Iterator[int]:
    """So many threads of PyTorch, or its own number; afterwards as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


def _timings(
    networks: Sequence[Network],
    batch_size: int,
    device: torch.device,
    compile: bool,
    rounds: int,
    seconds: float,
) -> list[Timing]:
    # Of a network that it compiles for many shapes torch keeps a few only.
    torch.compiler.reset()
    calls = {
        (network.label, runtime): call
        for network in networks
        for runtime, call in network.calls(batch_size, device, compile).items()
    }
    taken = in_turns(calls, rounds, seconds)
    return [Timing(*key, batch_size, values) for key, values in taken.items()]
