"""Recipes as others may see them: names in place of the paths of a machine."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vkd.network_names import parse

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_SEPARATORS = re.compile(r"[/\\]+")


def without_paths(recipe: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return a recipe whose paths are cut to their last names, and the fields that were cut.

    Names of networks and of data sets on the hub of Hugging Face stay, unless a file or folder of
    this machine has the same.
    """
    is_on_hub = recipe.get("dataset") == "hfds"
    shown = {
        name: _shown(value, is_on_hub and name == "data_path") for name, value in recipe.items()
    }
    return shown, [name for name, value in recipe.items() if shown[name] != value]


def _shown(value: Any, may_be_on_hub: bool = False) -> Any:
    if isinstance(value, str):
        return ",".join(_name(part, may_be_on_hub) for part in value.split(","))
    if isinstance(value, Mapping):
        return {key: _shown(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_shown(part, may_be_on_hub) for part in value]
    return value


def _name(text: str, may_be_on_hub: bool) -> str:
    """A text with the last name of what it is, if it is a path."""
    if not _SEPARATORS.search(text):
        return text
    source, rest = parse(text)
    prefix = text.removesuffix(rest)
    is_network = bool(prefix) and not _SEPARATORS.search(rest)
    may_be_on_hub = may_be_on_hub or source == "hugging_face"
    is_hub_name = may_be_on_hub and bool(_HUB_NAME.fullmatch(rest))
    if is_network or (is_hub_name and not Path(rest).exists()):
        return text
    names = [part for part in _SEPARATORS.split(rest) if part not in ("", ".", "..", "~")]
    return prefix + (names[-1] if names else ".")
