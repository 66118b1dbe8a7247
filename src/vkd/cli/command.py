"""The command ``vkd``: finds the subcommand, and turns errors into a sentence and an exit code."""

import logging
import os
import sys
from collections.abc import Callable
from importlib import import_module

from vkd import __version__
from vkd.cli.completed import ASKED, answer
from vkd.errors import (
    RunError,
    Stopped,
    UserError,
    cut_to_sentence,
    impossible_name,
    lack_of_memory,
    nearest,
    refusal_of_the_system,
)
from vkd.plain_text import plain
from vkd.plugins import load_plugins

HELP = {
    "demo": "show the method on scikit-learn's digits in a few minutes",
    "init": "write a recipe for a folder of pictures, a teacher and a student",
    "train": "train by a recipe",
    "eval": "print a checkpoint's metrics on the test split",
    "compare": "compare methods: tuned on validation, paired differences on the test split",
    "replay": "take a training step again whose loss or gradient was not finite",
    "predict": "classes or boxes of images, or generated images",
    "search": "find the pictures that are nearest to others",
    "check": "what a data set holds, what is mended or refused, and how it will be seen",
    "cache": "store a teacher's outputs, so that students need no teacher",
    "convert": "turn a published checkpoint into safetensors",
    "export": "write a checkpoint as ONNX or torch.export",
    "bench": "latency and throughput of a network on this machine, beside another's",
    "publish": "a model with its card, as a folder or on the hub of Hugging Face",
    "report": "write one HTML page from run folders",
    "recipes": "list the recipes",
    "models": "list the models",
    "layers": "list a model's layers with the shapes of their outputs",
    "completion": "print what completes commands and flags in a shell",
}
# Commands with a file of their own, of their name; the others are in commands.py.
_WITH_FILE = {"bench", "completion", "init", "publish", "replay", "search"}


def main(arguments: list[str] | None = None) -> int:
    """Run ``vkd`` with ``arguments`` (the process's own by default) and return its exit code.

    0 for success, 1 for a failure, 2 for a user's mistake, 75 when a signal has ended a run that
    saved a checkpoint to resume from, 130 when interrupted.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    show_log("vkd")
    try:
        code = _run(arguments)
        sys.stdout.flush()  # here, where a full disk can still be told
        return code
    except BrokenPipeError:  # the reader of a list, such as `head`, has enough
        _discard_output()
        return 0
    except Exception as error:
        return report_error("vkd", error)
    except KeyboardInterrupt as stop:
        return report_stop("vkd", stop)


def _discard_output() -> None:
    """Let go what cannot be printed, which Python would try again at its end."""
    stdout = sys.__stdout__
    if stdout is not None and sys.stdout is stdout:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stdout.fileno())


def report_error(program: str, error: Exception) -> int:
    """Print an error as one sentence and return the exit code.

    Errors of users, runs and the system are, and lack of memory; others are ours, and raised
    again.
    """
    mistake = error if isinstance(error, UserError) else impossible_name(error)
    if mistake is not None:
        print(plain(cut_to_sentence(f"{program}: {mistake.for_command_line()}")), file=sys.stderr)
        return 2
    told = error if isinstance(error, RunError) else lack_of_memory(error)
    told = told or refusal_of_the_system(error)
    if told is None:
        raise error
    _discard_output()
    print(plain(cut_to_sentence(f"{program}: {told}")), file=sys.stderr)
    return 1


def report_stop(program: str, stop: KeyboardInterrupt) -> int:
    """Print what a signal has ended as one sentence and return the exit code."""
    text = str(stop) or "interrupted; `--resume` continues from the last checkpoint."
    print(cut_to_sentence(f"{program}: {text}"), file=sys.stderr)
    return Stopped.EXIT_CODE if isinstance(stop, Stopped) else 130


def show_log(program: str) -> None:
    """Show what the library logs, on standard error."""
    log = logging.getLogger("vkd")
    log.handlers = [logging.StreamHandler()]
    log.handlers[0].setFormatter(_Plain(f"{program}: %(message)s"))
    log.setLevel(logging.INFO)
    log.propagate = False


class _Plain(logging.Formatter):
    """Shows what would give orders to a terminal, as names from data can."""

    def format(self, record: logging.LogRecord) -> str:
        return plain(super().format(record))


def _run(arguments: list[str]) -> int:
    if ASKED in os.environ:
        given = answer(HELP)
        if given is None:
            return 0
        arguments = given
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        return 0
    if arguments[0] == "--version":
        print(f"vkd {__version__}")
        return 0
    name, *rest = arguments
    if name not in HELP:
        kind = "flag" if name.startswith("-") else "command"
        known = ["--help", "--version"] if kind == "flag" else list(HELP)
        raise UserError(f"There is no {kind} {name!r} of vkd{nearest(name, known)}")
    home = import_module(f"vkd.cli.{name if name in _WITH_FILE else 'commands'}")
    load_plugins()
    command: Callable[[list[str]], None] = getattr(home, name)
    try:
        command(rest)
    except SystemExit as stop:  # argparse leaves this way after --help
        return int(stop.code or 0)
    return 0


def _help() -> str:
    lines = [f"  {name:<12}{text}" for name, text in HELP.items()]
    return "\n".join([
        "usage: vkd COMMAND ...",
        "",
        "Knowledge distillation of vision models with orthogonal projections.",
        "",
        *lines,
        "",
        "`vkd COMMAND --help` explains a command's flags; `vkd --version` prints the version.",
    ])  # fmt: skip
