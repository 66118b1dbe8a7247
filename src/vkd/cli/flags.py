"""Flags made of the fields of recipes and of steps' options."""

import re
from argparse import SUPPRESS
from collections.abc import Iterable
from dataclasses import fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from vkd.cli.parser import Parser
from vkd.config import TrainingConfig, default_values, field_groups, field_texts
from vkd.errors import flag_of
from vkd.methods.catalogue import METHODS, NO_METHOD

_VALUES = {
    int: "N", float: "X", str: "TEXT", dict[str, Any]: "YAML", dict[str, str]: "YAML",
    dict[str, float]: "YAML", list[dict[str, Any]]: "YAML",
}  # fmt: skip
_HEADINGS = {
    "data": "data: what is trained on",
    "student": "student: what is trained",
    "teacher": "teacher: what it learns from",
    "method": "method: how it learns",
    "optimisation": "optimisation",
    "run": "run: where, and what is kept",
}


def add_recipe_flags(parser: Parser, config: type[TrainingConfig], values: dict[str, Any]) -> None:
    """Add a flag for each field of a recipe, in groups, with the recipe's values as defaults."""
    texts, hints = field_texts(config), get_type_hints(config)
    defaults = default_values(config)
    for heading, names in field_groups(config).items():
        group = parser.add_argument_group(_HEADINGS.get(heading, heading))
        for name in names:
            default = values.get(name, defaults[name])
            text = _with_flags(texts.get(name, ""), texts)
            if name == "method":
                text = f"{text[:-1]}: {', '.join([*METHODS, NO_METHOD])}."
            add_flag(group, name, hints[name], default, text)
    for former in config.FORMER:
        # Former names still work; the help shows today's.
        parser.add_argument(f"--{former}", type=str, help=SUPPRESS)


def add_flag(parser: Any, name: str, hint: Any, default: Any, text: str) -> None:
    """Add a flag whose value is named by its type."""
    shown = {"metavar": _VALUES[hint]} if hint in _VALUES else {}
    action = parser.add_argument(f"--{name}", type=hint, default=default, help=text, **shown)
    if get_origin(hint) is Literal:
        # For shells, as jsonargparse completes no such choices.
        action.completer = lambda prefix, **_: [str(choice) for choice in get_args(hint)]


def _with_flags(text: str, names: Iterable[str]) -> str:
    """The sentence of a field with flags in place of other fields' names."""
    for name in names:
        if "_" in name:
            text = re.sub(rf"\b{name}\b", flag_of(name), text)
    return text


def given_fields(arguments: list[str], flags: Any, config: type[TrainingConfig]) -> dict[str, Any]:
    """Return the recipe fields that ``arguments`` give, former names among them."""
    words = {word.split("=")[0][2:].replace("-", "_") for word in arguments if word[:2] == "--"}
    known = {item.name for item in fields(config)} & words
    values = {name: flags[name] for name in known}
    return values | {name: flags[name] for name in config.FORMER if name in words}


def add_option_flags(parser: Parser, kinds: dict[str, type]) -> None:
    """Add a flag for each option of a step that some task has.

    Args:
        parser: of the command.
        kinds: by task, the dataclass of its options.
    """
    texts: dict[str, list[str]] = {}
    hints: dict[str, Any] = {}
    for task, kind in kinds.items():
        for item in fields(kind):
            texts.setdefault(item.name, []).append(f"{task}: {field_texts(kind)[item.name]}")
            hints[item.name] = get_type_hints(kind)[item.name] | None
    for name, parts in texts.items():
        is_switch = hints[name] == bool | None
        settings: dict[str, Any] = {"action": "store_true"} if is_switch else {"type": hints[name]}
        parser.add_argument(f"--{name}", default=None, help=" ".join(parts), **settings)


def given_options(flags: Any, names: Iterable[str]) -> dict[str, Any]:
    """Return the flags of ``names`` that were given."""
    return {name: flags[name] for name in names if flags[name] is not None}


def option_names(kinds: dict[str, type]) -> list[str]:
    """Return the names of the options of all tasks."""
    return list(dict.fromkeys(item.name for kind in kinds.values() for item in fields(kind)))
