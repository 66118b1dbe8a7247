"""Where in a file the weights of a network are: in which of its dicts, below which wrappers.

A file's tensors have dotted names here, in which a dict is a step like a module is. The names that
a network expects decide which prefix is its own; without a network only ``module.`` is dropped.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Set
from typing import Any

import torch
from torch import Tensor

from vkd.models.adapter import State
from vkd.models.arrays import Array

# What holds weights, the preferred first: averaged ones, as timm's own loader has it, the student
# of a module that distils, then dicts and modules by their usual names.
HOLDERS = (
    "state_dict_ema", "model_ema", "ema_state_dict", "params_ema", "ema_model", "ema",
    "student", "state_dict", "model_state_dict", "model", "params", "net", "network", "module",
)  # fmt: skip
USUAL = ("state_dict", "model", "student")  # of these, for messages
# Where nothing else decides, this is not the network that is meant.
_TEACHER = "teacher"
# torch puts these into names; no module of anybody's own is called so.
_RESERVED = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
_PARALLEL = "module."
_COUNTER = "n_averaged"  # that AveragedModel keeps beside its module
_DEEPEST = 8
_ORDER = {name: place for place, name in enumerate(HOLDERS)} | {_TEACHER: len(HOLDERS) + 1}


def plain_name(key: str) -> str:
    """Return a name without what ``torch.compile`` and the like put into it."""
    for reserved in _RESERVED:
        key = key.replace(reserved, "")
    return key


def flattened(saved: Any, prefix: str = "", depth: int = 0) -> State:
    """Return all tensors of nested dicts by dotted names; what has no name is left out."""
    found: State = {}
    if not isinstance(saved, Mapping) or depth > _DEEPEST:
        return found
    for key, value in saved.items():
        if not isinstance(key, str):
            continue
        value = value.tensor() if isinstance(value, Array) else value
        if isinstance(value, Tensor):
            found[prefix + plain_name(key)] = value
        else:
            found |= flattened(value, f"{prefix}{key}.", depth + 1)
    return found


def home_of(saved: Any) -> str | None:
    """Return the prefix of the dict that holds a file's weights; None where there is none.

    Of several the preferred one, if it has at least half as many tensors as any other.
    """
    counts = dict(_homes(saved))
    if not counts:
        return None
    enough = max(counts.values()) / 2
    return min((home for home, count in counts.items() if count >= enough), key=_rank)


def _homes(saved: Any, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, int]]:
    if not isinstance(saved, Mapping) or depth > _DEEPEST:
        return
    values = [value for key, value in saved.items() if isinstance(key, str)]
    count = sum(isinstance(value, Tensor | Array) for value in values)
    if count:
        yield prefix, count
    for name in HOLDERS:
        yield from _homes(saved.get(name), f"{prefix}{name}.", depth + 1)


def below(stored: State, prefix: str) -> State:
    """Return the tensors below a prefix, by the rest of their names."""
    return {
        key.removeprefix(prefix): value for key, value in stored.items() if key.startswith(prefix)
    }


def unwrappings(stored: State, prefix: str) -> Iterator[str]:
    """Return a prefix and those of all holders below it, outermost and preferred first."""
    yield prefix
    names = {key.removeprefix(prefix).split(".")[0] for key in stored if key.startswith(prefix)}
    for name in HOLDERS:
        if name in names:
            yield from unwrappings(stored, f"{prefix}{name}.")


def parallel_prefix(names: Set[str] | Mapping[str, Any]) -> str:
    """Return the ``module.`` that all names begin with, as often as they do; empty if not all."""
    prefix = ""
    rest = set(names) - {_COUNTER}
    while rest and all(name.startswith(prefix + _PARALLEL) for name in rest):
        prefix += _PARALLEL
    return prefix


def fit_of(state: State, expected: Mapping[str, torch.Size]) -> tuple[int, int]:
    """Return how many of the expected tensors are there in the same shape, and by name alone."""
    named = [key for key in expected if key in state]
    return sum(state[key].shape == expected[key] for key in named), len(named)


def prefix_of(stored: State, expected: Mapping[str, torch.Size]) -> str:
    """Return the prefix below which most of a network's tensors are, the preferred of several.

    Args:
        stored: all tensors of a file.
        expected: the network's names and shapes.
    """
    shaped: Counter[str] = Counter()
    named: Counter[str] = Counter()
    for key, value in stored.items():
        starts = [0, *(place + 1 for place, letter in enumerate(key) if letter == ".")]
        for start in starts:
            if (shape := expected.get(key[start:])) is not None:
                named[key[:start]] += 1
                shaped[key[:start]] += shape == value.shape
    return min(
        named, key=lambda prefix: (-shaped[prefix], -named[prefix], _rank(prefix)), default=""
    )


def _rank(prefix: str) -> tuple[int, ...]:
    """Lower for what is preferred: fewer steps, and those that come first in HOLDERS."""
    return tuple(_ORDER.get(step, len(HOLDERS)) for step in prefix.split(".")[:-1])


def left_out(stored: State, prefix: str) -> list[str]:
    """Return what to say of the weights that lie beside those below a prefix, if there are any."""
    beside = [
        key
        for key, value in stored.items()
        if value.is_floating_point() and not key.startswith(prefix)
    ]
    if not beside:
        return []
    taken = f"the weights below {prefix.rstrip('.')} are taken"
    return [f"{taken}; {len(beside):,} tensors beside them are left out, the first {beside[0]}"]
