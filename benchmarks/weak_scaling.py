"""Whether several processes train as one does: for correctness, on the CPU.

    python benchmarks/weak_scaling.py

torchrun starts each number of gloo processes, whose batches stay equal (weak scaling). They must
end with bit-equal weights, averaged weights and metrics, draw random numbers of their own, and take
each image at most once an epoch, leaving out less than a step's.

The baseline is one process with as many images a step: every loss term of every update and the
final weights may differ by ``TOLERANCE``, as sums are added up in another order. A generator's
noise is each process's own, so that generation has no such baseline.

The share of communication is what a step takes longer than one that keeps its gradients to itself;
the two alternate. Where processes outnumber cores, they wait for each other besides.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import timm
import torch
from accelerate.utils import set_seed
from safetensors.torch import save_file

from vkd.api.train import end_processes
from vkd.inputs import InputFormat
from vkd.reporting.environment import environment
from weak_scaling_run import CASES, Outcome, outcome

RESULTS = Path(__file__).parent / "results" / "weak_scaling.json"
TOLERANCE = 1e-5  # relative to values above one


def together(case: str, processes: int, batch_size: int, folder: Path) -> Outcome:
    """Train a case with processes of torchrun."""
    file = folder / f"{case}-{processes}.pt"
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone")
    words = ("--case", case, "--batch-size", str(batch_size), "--folder", str(folder))
    command = [*launcher, f"--nproc_per_node={processes}", __file__, *words]
    done = subprocess.run([*command, "--file", str(file)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return Outcome(**torch.load(file, weights_only=True))


def faults(found: Outcome, images_a_step: int) -> list[str]:
    """Return what several processes must not do and did."""
    wrong = [f"{name} differ between processes" for name in found.differing]
    if found.moved < 10 * TOLERANCE:
        wrong.append(f"weights moved by {found.moved:.2g} alone")
    if not found.is_apart:
        wrong.append("processes draw the same random numbers")
    for number, epoch in enumerate(found.epochs, 1):
        if len(set(epoch)) < len(epoch):
            wrong.append(f"an image comes twice in epoch {number}")
        if not 0 <= found.images - len(epoch) < images_a_step:
            wrong.append(f"epoch {number} has {len(epoch)} of {found.images} images")
    return wrong


def differences(found: Outcome, baseline: Outcome) -> dict[str, float]:
    """Return the largest difference of each loss term over all updates, and of the weights.

    Relative to the baseline's values where these are above one.
    """
    largest: dict[str, float] = {}
    for ours, theirs in zip(found.terms, baseline.terms, strict=True):
        for name, value in theirs.items():
            apart = abs(ours[name] - value) / max(abs(value), 1.0)
            largest[name] = max(largest.get(name, 0.0), apart if math.isfinite(apart) else math.inf)
    parts = [
        ((found.weights[name] - value).abs() / value.abs().clamp(min=1)).max().item()
        for name, value in baseline.weights.items()
    ]
    return largest | {"weights": max(parts)}


def compared(case: str, processes: int, batch_size: int, folder: Path) -> dict[str, Any]:
    """Return the row of a case with a number of processes.

    Raises:
        SystemExit: with what is wrong.
    """
    found = together(case, processes, batch_size, folder)
    wrong = faults(found, processes * batch_size)
    row: dict[str, Any] = {
        "images_a_step": processes * batch_size,
        "updates": len(found.terms),
        "steps_per_second": float(f"{found.steps_per_second:.3g}"),
        "communication": round(found.communication, 3),
    }
    if case != "generation" and processes > 1:
        apart = differences(found, outcome(case, processes * batch_size, folder))
        row["differences"] = {name: float(f"{value:.2g}") for name, value in apart.items()}
        wrong += [
            f"{name} differs by {value:.2g} from one process's"
            for name, value in apart.items()
            if not value <= TOLERANCE
        ]
    if wrong:
        raise SystemExit(f"{case}, {processes} processes: {'; '.join(wrong)}")
    return row


def main() -> None:
    """Compare every case with every number of processes, print the rows and write all of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--batch-size", type=int, default=8, help="of each process")
    parser.add_argument("--case", choices=CASES, help="this one alone; writes no results")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.file:  # one of torchrun's processes
        found = outcome(flags.case, flags.batch_size, flags.folder)
        if torch.distributed.get_rank() == 0:
            torch.save(vars(found), flags.file)
        end_processes()
        return
    rows: dict[str, dict[str, Any]] = {}
    for case in [flags.case] if flags.case else CASES:
        for processes in flags.processes:
            with tempfile.TemporaryDirectory() as name:
                prepare(Path(name))
                row = compared(case, processes, flags.batch_size, Path(name))
            rows.setdefault(case, {})[str(processes)] = row
            print(f"{case}, {processes} processes: {row}", flush=True)
    if not flags.case:
        kept = {
            "environment": environment(),
            "tolerance": TOLERANCE,
            "batch_size": flags.batch_size,
        }
        RESULTS.write_text(json.dumps(kept | {"processes": rows}, indent=1) + "\n")


def prepare(folder: Path) -> None:
    """Write what the cases read: a network with random weights to measure generated images by."""
    set_seed(0)
    inputs = json.dumps(InputFormat((0.0,), (1.0,), (8, 8)).as_dict())
    network = timm.create_model("cnn_digits")
    save_file(network.state_dict(), folder / "extractor.safetensors", {"inputs": inputs})


if __name__ == "__main__":
    main()
