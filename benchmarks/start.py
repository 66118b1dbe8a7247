"""Seconds from the command to the answer, and to the first step of training.

    python benchmarks/start.py [--rounds N]

Every command runs in a process of its own, all of them in turns. The baseline is a process that
imports torch and timm, up to the moment when it has: like the first step it is told by the process
itself, as what torch does at the end of a process belongs to neither. Answers are timed to the end
of their process. Training is that of the recipe digits with a teacher that
is ready, and of its teacher alone; the first step is reached when the trainer is about to take it,
which this script finds by taking its place.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from vkd.reporting.environment import environment

RESULTS = Path(__file__).parent / "results" / "start.json"
BASELINE = "import torch, timm"
COMMANDS = {
    "vkd --help": ["--help"],
    "vkd train --help": ["train", "--help"],
    "a wrong flag": ["train", "digits", "--epoch", "3"],
}
STEP = """
import os, sys, time
from vkd.cli import main
from vkd.training.trainer import Trainer

def step(self, batch, progress):
    print(time.time(), flush=True)
    os._exit(0)

Trainer._train_step = step
main(sys.argv[1:])
"""


def seconds_of(*words: str) -> float:
    """Return how long ``vkd`` with these arguments runs."""
    began = time.time()
    subprocess.run([sys.executable, "-m", "vkd", *words], capture_output=True, env=_surroundings())
    return time.time() - began


def seconds_to_end(code: str, *words: str) -> float:
    """Return how long a Python process takes to the time that its code prints last."""
    began = time.time()
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True, text=True, check=True, env=_surroundings(),
    )  # fmt: skip
    return float(done.stdout.split()[-1]) - began


def seconds_to_import(code: str) -> float:
    """Return how long a Python process takes until it has imported what ``code`` says."""
    return seconds_to_end(f"{code}\nimport time\nprint(time.time())")


def seconds_to_step(*words: str) -> float:
    """Return how long ``vkd`` takes to be about to take its first step."""
    with tempfile.TemporaryDirectory() as folder:
        return seconds_to_end(STEP, *words, "--output", f"{folder}/run", "--device", "cpu")


def _surroundings() -> dict[str, str]:
    """The environment, in which modules may be kept compiled, as an installation keeps them."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def trained_teacher(folder: Path) -> str:
    """Return the run folder of a teacher of digits after one epoch."""
    words = ["train", "digits-teacher", "--epochs", "1", "--warmup-epochs", "0", "--device", "cpu"]
    subprocess.run(
        [sys.executable, "-m", "vkd", *words, "--output", str(folder)],
        check=True, capture_output=True,
    )  # fmt: skip
    return str(folder)


def measure(rounds: int) -> dict[str, float]:
    """Return the median seconds of each, called in turns after a round that warms up."""
    with tempfile.TemporaryDirectory() as folder:
        teacher = trained_teacher(Path(folder) / "teacher")
        every: dict[str, list[float]] = {}
        for turn in range(rounds + 1):
            found = {code: seconds_to_import(code) for code in (BASELINE, "import vkd")}
            for name, words in COMMANDS.items():
                found[name] = seconds_of(*words)
            found["first step alone"] = seconds_to_step("train", "digits-teacher")
            words = ["train", "digits", "--teacher-checkpoint", teacher]
            found["first step distilled"] = seconds_to_step(*words)
            for name, taken in found.items():
                every.setdefault(name, []).extend([taken] if turn else [])
    return {name: median(taken) for name, taken in every.items()}


def main() -> None:
    """Measure, print the ratios to the baseline, and write all of it."""
    parser = argparse.ArgumentParser(description="Seconds to the answer and to the first step.")
    parser.add_argument("--rounds", type=int, default=7, help="of each command")
    found = measure(parser.parse_args().rounds)
    ratios = {name: taken / found[BASELINE] for name, taken in found.items()}
    for name, taken in found.items():
        print(f"{name}: {taken:.2f} s, {ratios[name]:.2f} times {BASELINE}")
    content = {"environment": environment(), "seconds": found, "ratios": ratios}
    RESULTS.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
