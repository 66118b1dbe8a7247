"""What three processes do together, once for all tests; run by torchrun.

Three share neither 180 digits of a validation split nor 200 generated images evenly. Takes a
folder, a digits teacher and a GAN's run.
"""

import sys
from contextlib import redirect_stdout
from pathlib import Path

from vkd.api import train as train_module
from vkd.cli import main


def command(file, *arguments):
    """Run ``vkd`` and keep what it prints; only the first process prints metrics."""
    with file.open("a") as out, redirect_stdout(out):
        assert main([str(word) for word in arguments]) == 0


def run(folder, teacher, gan):
    """Train and evaluate a student by the commands, and evaluate a GAN."""
    end_processes, train_module.end_processes = train_module.end_processes, lambda: None
    command(
        folder / "train.txt", "train", "digits", "--output", folder / "run", "--epochs", 2,
        "--warmup-epochs", 0, "--evaluate-every", 1, "--device", "cpu",
        "--teacher-checkpoint", teacher, "--batch-size", 32,
    )  # fmt: skip
    command(folder / "digits.txt", "eval", "--checkpoint", folder / "run", "--device", "cpu")
    command(folder / "gan.txt", "eval", "--checkpoint", gan, "--device", "cpu")
    end_processes()


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
