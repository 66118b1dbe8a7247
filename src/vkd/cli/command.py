"""The command ``vkd``: finds the subcommand, and turns errors into a sentence and an exit code."""

import logging
import os
import sys
from collections.abc import Callable

from vkd import __version__
from vkd.errors import RunError, UserError, nearest, refusal_of_the_system
from vkd.plugins import load_plugins

HELP = {
    "demo": "show the method on scikit-learn's digits in a few minutes",
    "train": "train by a recipe",
    "eval": "print a checkpoint's metrics on the test split",
    "compare": "compare methods: tuned on validation, paired differences on the test split",
    "predict": "classes or boxes of images, or generated images",
    "check": "what a data set holds, what is mended or refused, and how it will be seen",
    "cache": "store a teacher's outputs, so that students need no teacher",
    "convert": "turn a published checkpoint into safetensors",
    "export": "write a checkpoint as ONNX or torch.export",
    "report": "write one HTML page from run folders",
    "recipes": "list the recipes",
    "models": "list the models",
    "layers": "list a model's layers with the shapes of their outputs",
}


def main(arguments: list[str] | None = None) -> int:
    """Run ``vkd`` with ``arguments`` (the process's own by default) and return its exit code.

    0 for success, 1 for a failure, 2 for a user's mistake, 130 when interrupted.
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
        text = str(stop) or "interrupted; `--resume` continues from the last checkpoint."
        print(f"vkd: {text}", file=sys.stderr)
        return 130


def _discard_output() -> None:
    """Let go what cannot be printed, which Python would try again at its end."""
    if sys.stdout is sys.__stdout__ and sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def report_error(program: str, error: Exception) -> int:
    """Print an error as one sentence and return the exit code.

    Errors of users, runs and the system are; others are ours, and raised again.
    """
    if isinstance(error, UserError):
        print(f"{program}: {error.for_command_line()}", file=sys.stderr)
        return 2
    told = error if isinstance(error, RunError) else refusal_of_the_system(error)
    if told is None:
        raise error
    _discard_output()
    print(f"{program}: {told}", file=sys.stderr)
    return 1


def show_log(program: str) -> None:
    """Show what the library logs, on standard error."""
    log = logging.getLogger("vkd")
    log.handlers = [logging.StreamHandler()]
    log.handlers[0].setFormatter(logging.Formatter(f"{program}: %(message)s"))
    log.setLevel(logging.INFO)
    log.propagate = False


def _run(arguments: list[str]) -> int:
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
    from vkd.cli import commands

    load_plugins()
    command: Callable[[list[str]], None] = getattr(commands, name)
    try:
        command(rest)
    except SystemExit as stop:  # argparse leaves this way after --help
        return int(stop.code or 0)
    return 0


def _help() -> str:
    lines = [f"  {name:<10}{text}" for name, text in HELP.items()]
    return "\n".join([
        "usage: vkd COMMAND ...",
        "",
        "Knowledge distillation of vision models with orthogonal projections.",
        "",
        *lines,
        "",
        "`vkd COMMAND --help` explains a command's flags; `vkd --version` prints the version.",
    ])  # fmt: skip
