"""Answers to a shell that asks how a line of ``vkd`` goes on, by argcomplete."""

import os
import shlex
from argparse import ArgumentParser
from collections.abc import Iterable

# What argcomplete's shell functions set, and how many words are left out before the command.
ASKED = "_ARGCOMPLETE"
_OF_RECIPES = ("train", "cache", "compare")


def asked_words() -> list[str]:
    """Return the words before the one that is to be completed, the program's first."""
    line = os.environ["COMP_LINE"][: int(os.environ["COMP_POINT"])]
    try:
        words = shlex.split(line)
    except ValueError:  # an open quote
        words = line.split()
    return words if line[-1:].isspace() else words[:-1]


def answer(commands: Iterable[str]) -> list[str] | None:
    """Print commands or recipes that complete a line; or return the arguments of its command.

    The command's own parser then completes the rest, see ``Parser.parse_args``.
    """
    words = asked_words()
    if len(words) < 2:
        _complete("command", [*commands, "--help", "--version"], 1)
        return None
    if words[1] in _OF_RECIPES and len(words) == 2:
        from vkd.recipe import recipe_names

        _complete("recipe", recipe_names(), 2, with_files=True)
        return None
    given = 3 if words[1] in _OF_RECIPES else 2
    os.environ[ASKED] = str(given)
    return words[1:given]


def _complete(name: str, choices: Iterable[str], start: int, with_files: bool = False) -> None:
    """Print the choices, or YAML files, that complete the word after the first ``start``."""
    from argcomplete import autocomplete
    from argcomplete.completers import FilesCompleter

    os.environ[ASKED] = str(start)
    known = list(choices)
    parser = ArgumentParser(add_help=False)
    argument = parser.add_argument(name)

    def complete(prefix: str, **_: object) -> list[str]:
        files = FilesCompleter(["yaml", "yml"])(prefix) if with_files else []
        return [word for word in known if word.startswith(prefix)] + list(files)

    argument.completer = complete  # type: ignore[attr-defined]
    autocomplete(parser, always_complete_options=False)
