"""A parser whose mistakes are one sentence with the nearest right name."""

import os
import re
import sys
from argparse import SUPPRESS, Action
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn, Protocol, runtime_checkable

from jsonargparse import ArgumentParser, DefaultHelpFormatter

from vkd.cli.completed import ASKED
from vkd.errors import UserError, nearest


class _Formatter(DefaultHelpFormatter):
    """Help that shows a default in brackets, and no types, which values' names say."""

    def _get_help_string(self, action: Action) -> str:
        default = action.default
        is_shown = default not in (None, "", SUPPRESS) and default != {} and default is not False
        return (action.help or "") + (f" [{default}]" if is_shown else "")


@runtime_checkable
class Completed(Protocol):
    """An argument whose values jsonargparse completes; with None where it knows none."""

    def completer(self, prefix: str, **given: Any) -> list[str] | None: ...


def _values(complete: Callable[..., list[str] | None], prefix: str, **given: Any) -> list[str]:
    return complete(prefix, **given) or []


class Parser(ArgumentParser):
    """jsonargparse's parser with dashes in flags and ``UserError`` for every mistake."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, formatter_class=_Formatter, **kwargs)
        self._given: set[str] = set()

    def parse_args(self, args: list[str] | None = None, *rest: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """Parse ``args``; ``--batch-size`` and ``--batch_size`` are the same flag."""
        if ASKED in os.environ:
            self._show_dashes()
            return super().parse_args([], *rest, **kwargs)  # which completes, and ends the process
        given = sys.argv[1:] if args is None else list(args)
        given = [_underscored(word) for word in given]
        self._given = {word.split("=")[0] for word in given}
        flags = [flag for action in self._actions for flag in action.option_strings]
        for word in given:
            flag = word.split("=")[0]
            if flag.startswith("-") and flag not in flags and not _is_number(flag):
                raise UserError(
                    f"There is no flag {_dashed(flag)} of {self.prog}"
                    f"{nearest(_dashed(flag), map(_dashed, flags))}"
                )
        return super().parse_args(given, *rest, **kwargs)

    def _show_dashes(self) -> None:
        """Have flags with dashes alone, for a shell that completes them."""
        for action in self._actions:
            action.option_strings = [_dashed(flag) for flag in action.option_strings]
            if isinstance(action, Completed):
                action.completer = partial(_values, action.completer)  # type: ignore[method-assign]
        self._option_string_actions = {
            flag: action for action in self._actions for flag in action.option_strings
        }

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise ``UserError`` with what argparse or jsonargparse found."""
        if required := re.search(r"arguments are required: (.+)$", str(message)):
            names = [self._as_typed(name) for name in required[1].split(", ")]
            raise UserError(f"{' and '.join(names)} {'are' if names[1:] else 'is'} required.")
        if stray := re.search(r"nrecognized arguments: (.+)", str(message)):
            needed = "".join(f"; {flag} is required" for flag in self._missing())
            raise UserError(f"{self.prog} does not take the word {stray[1][:80]}{needed}.")
        raise UserError(_one_sentence(str(message)))

    def _missing(self) -> list[str]:
        """The flags that are required and not given."""
        flags = [action.option_strings for action in self._actions if action.required]
        return [_dashed(names[0]) for names in flags if names and not self._given & {*names}]

    def _as_typed(self, name: str) -> str:
        """An argument as the help shows it: a flag, or the word in capitals."""
        words = {action.dest: action.metavar for action in self._actions if action.metavar}
        is_flag = any(f"--{name}" in action.option_strings for action in self._actions)
        return f"--{_dashed(name)}" if is_flag else str(words.get(name, name))

    def format_help(self, *args: Any) -> str:
        """Return the help with flags as users type them."""
        return re.sub(r"--\w+", lambda match: _dashed(match[0]), super().format_help(*args))


def _underscored(word: str) -> str:
    flag, equals, value = word.partition("=")
    return "--" + flag[2:].replace("-", "_") + equals + value if word.startswith("--") else word


def _dashed(flag: str) -> str:
    return flag.replace("_", "-")


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _one_sentence(message: str) -> str:
    key = re.search(r'[Pp]arser key "(\w+)"', message)
    value = re.search(r"Got value: (.*)", message) or re.search(r"value: (\S+)", message)
    expected = re.search(r"Expected an? <class '(\w+)'>", message)
    choices = re.search(r"(?:typing\.)?Literal\[([^\]]*)\]", message)
    if key is None:
        return " ".join(message.split()).rstrip(".") + "."
    flag = "--" + _dashed(key[1])
    found = f", found {value[1]}" if value else ""
    if choices:
        names = [name.strip(" '\"") for name in choices[1].split(",")]
        hint = nearest(value[1].strip("'\""), names) if value else "."
        return f"{flag} must be one of {', '.join(names)}{found}{hint}"
    kinds = {
        "int": "a whole number",
        "float": "a number",
        "bool": "true or false",
        "dict": "a mapping such as {alpha: 2.0}",
    }
    kind = kinds.get(expected[1], expected[1]) if expected else "another value"
    return f"{flag} must be {kind}{found}."
