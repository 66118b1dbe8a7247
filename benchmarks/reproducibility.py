"""Trains one recipe in ways that could give other bits, and compares weights and accuracy.

Each run is a process of its own. Prints a table and writes it as JSON:

    python benchmarks/reproducibility.py --output benchmarks/results/reproducibility.json
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import process_time
from typing import Any

import torch
from safetensors.torch import load_file

from vkd.api.train import train
from vkd.detection import canvases
from vkd.files import write_json
from vkd.reporting.environment import environment
from vkd.training.records import read_metrics

# By name: flags of `vkd train`, threads, and processes.
VARIANTS: dict[str, tuple[list[str], int, int]] = {
    "the same again": ([], 1, 1),
    "another seed": (["--seed", "1"], 1, 1),
    "2 threads": ([], 2, 1),
    "2 loading processes": (["--workers", "2"], 1, 1),
    "compiled": (["--compile", "true"], 1, 1),
    "2 processes, half the batch each": (["--batch-size", "32"], 1, 2),
    "2 accumulated batches, half as large": (["--batch-size", "32", "--accumulation", "2"], 1, 1),
    "bfloat16": (["--mixed-precision", "bf16"], 1, 1),
    "deterministic": (["--deterministic", "true"], 1, 1),
}
_PLAIN = (
    "--method", "none", "--feature-weight", "0", "--teacher", "", "--trackers", "", "--device",
    "cpu", "--crop-padding", "1", "--mixup", "0.8",
)  # fmt: skip


def run(
    folder: Path, flags: list[str], threads: int, processes: int, epochs: int, recipe: str
) -> None:
    """Train in processes of their own."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    command = [sys.executable, *(launcher if processes > 1 else []), "-m", "vkd", "train", recipe]
    command += ["--output", str(folder), "--epochs", str(epochs), "--warmup-epochs", "0"]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(
        [*command, *_PLAIN, *flags], capture_output=True, text=True, env=environment
    )
    if done.returncode:
        raise SystemExit(done.stderr)


def compared(folder: Path, other: Path) -> dict[str, Any]:
    """How far apart two runs end."""
    first, second = (load_file(place / "model.safetensors") for place in (folder, other))
    floating = [name for name in first if first[name].is_floating_point()]
    far = torch.cat([(first[name] - second[name]).flatten() for name in floating])
    size = torch.cat([first[name].flatten() for name in floating])
    losses = [read_metrics(place)[-1]["train"]["loss"] for place in (folder, other)]
    accuracy = [read_metrics(place)[-1]["validation"]["accuracy"] for place in (folder, other)]
    return {
        "equal_bits": all(torch.equal(first[name], second[name]) for name in first),
        "weights": float(far.norm() / size.norm()),
        "loss": abs(losses[0] - losses[1]),
        "accuracy": accuracy[1] - accuracy[0],
    }


def cost(rounds: int) -> dict[str, dict[str, float]]:
    """Seconds of the CPU that a short training takes, plain and deterministic, in turns.

    The least of all rounds in one process and one thread; other programs hardly change it.
    """
    torch.set_num_threads(1)
    found: dict[str, dict[str, float]] = {}
    for recipe in ("digits", "digits-detection"):
        alone: dict[str, Any] = {
            "method": "none", "feature_weight": 0.0, "teacher": "", "trackers": "", "device": "cpu",
            "epochs": 3, "warmup_epochs": 0, "evaluate_every": 3,
        }  # fmt: skip
        times: dict[bool, list[float]] = {False: [], True: []}
        with tempfile.TemporaryDirectory() as name, few_canvases():
            for number in range(rounds):
                for is_on, taken in times.items():
                    folder = Path(name) / f"{number}-{is_on}"
                    began = process_time()
                    train(recipe, folder, show=False, deterministic=is_on, **alone)
                    taken.append(process_time() - began)
        found[recipe] = {"plain": min(times[False]), "deterministic": min(times[True])}
        print(recipe, found[recipe], flush=True)
    return found


@contextmanager
def few_canvases() -> Iterator[None]:
    """A small data set for detection."""
    before = dict(canvases.SIZES)
    canvases.SIZES.update(train=64, validation=8, test=8)
    try:
        yield
    finally:
        canvases.SIZES.update(before)


def main() -> None:
    """Train all variants, print how they differ from the first, and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--recipe", default="digits")
    parser.add_argument("--variants", default="", help="names with commas between; all by default")
    parser.add_argument("--rounds", type=int, default=5, help="to time determinism; 0 for none")
    parser.add_argument("--output", default="", help="JSON file to write")
    flags = parser.parse_args()
    names = [name.strip() for name in flags.variants.split(",") if name.strip()] or list(VARIANTS)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        run(place / "first", [], 1, 1, flags.epochs, flags.recipe)
        found = {}
        for number, variant in enumerate(names):
            options, threads, processes = VARIANTS[variant]
            folder = place / str(number)
            run(folder, options, threads, processes, flags.epochs, flags.recipe)
            found[variant] = compared(place / "first", folder)
            print(variant, json.dumps(found[variant]), flush=True)
    record = {
        "recipe": flags.recipe, "epochs": flags.epochs, "seed": 0, "environment": environment(),
        "variants": found, "cpu_seconds": cost(flags.rounds) if flags.rounds else {},
    }  # fmt: skip
    if flags.output:
        write_json(Path(flags.output), record)


if __name__ == "__main__":
    main()
