"""What the fields of a config mean and are grouped under, and all of them as a recipe."""

import re
from dataclasses import asdict
from inspect import cleandoc
from pathlib import Path

import yaml

from vkd.config.training import TrainingConfig
from vkd.files import write_whole


def field_groups(config: type[TrainingConfig]) -> dict[str, list[str]]:
    """Return the fields of a config by the heading they are shown under, the special ones first."""
    groups: dict[str, list[str]] = {}
    for base in config.__mro__:
        for name, members in vars(base).get("GROUPS", {}).items():
            groups.setdefault(name, []).extend(members)
    order = [*TrainingConfig.GROUPS, *groups]
    return {name: list(dict.fromkeys(groups[name])) for name in dict.fromkeys(order)}


def field_texts(config: type[TrainingConfig]) -> dict[str, str]:
    """Return what each field means, from the ``Attributes`` of the docstrings."""
    texts: dict[str, str] = {}
    for base in reversed(config.__mro__):
        text = cleandoc(vars(base).get("__doc__") or "").partition("Attributes:\n")[2]
        for name, meaning in re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", text, re.MULTILINE):
            texts[name] = " ".join(meaning.split())
    return texts


def write_recipe(config: TrainingConfig, path: Path) -> None:
    """Write every field of ``config`` as a recipe that gives it back."""
    write_whole(path, yaml.safe_dump(asdict(config), sort_keys=False))
