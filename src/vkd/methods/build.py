"""Building methods by name, and checking that a task offers what they need."""

import inspect
from collections.abc import Collection, Mapping
from pkgutil import resolve_name
from typing import Any

from vkd.errors import UserError, nearest
from vkd.methods.catalogue import METHODS, method_entry
from vkd.methods.method import Method, Sizes


def method_class(name: str) -> type[Method]:
    """Return the class of the method ``name``, imported if need be.

    Raises:
        UserError: for an unknown name, or an entry whose target is no subclass of ``Method``.
    """
    target = method_entry(name).target
    try:
        found = resolve_name(target) if isinstance(target, str) else target
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"The method {name} cannot be imported from {target}: {error}.") from error
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise UserError(f"The method {name} must be a subclass of vkd's Method, found {found!r}.")
    return found


def build_method(
    name: str, sizes: Sizes, options: Mapping[str, Any], recipe_values: Mapping[str, Any]
) -> Method:
    """Return the method ``name`` for data of these sizes.

    Args:
        name: a name of ``METHODS``.
        sizes: of features, classes and data.
        options: keyword arguments of the class; they go before the recipe's.
        recipe_values: fields of a recipe, of which the method takes its ``recipe_fields``; they
            go before the entry's ``fields``.

    Raises:
        UserError: for unknown names and options, and for options out of range.
    """
    cls = method_class(name)
    _check_options(name, cls, options)
    values = {**method_entry(name).fields, **recipe_values}
    chosen = {key: value for key, value in values.items() if key in cls.recipe_fields}
    return cls(sizes, **{**chosen, **options})


def check_signals(name: str, available: set[str], where: str, many_rows: bool = False) -> None:
    """Refuse a method that a task cannot serve.

    Args:
        name: a name of ``METHODS``.
        available: fields of ``Signals`` that the task has.
        where: what is compared, in the plural, for example ``detection tokens``.
        many_rows: whether they are too many to compare with each other.

    Raises:
        UserError: if a signal is missing, or the method compares samples and rows are many.
    """
    reason = _refusal(method_class(name), available, where, many_rows)
    if reason:
        usable = _usable(available, where, many_rows)
        hint = f"; use one of {', '.join(usable)}" if usable else ""
        raise UserError(f"The method {name} {reason}{hint}.")


def _check_options(name: str, cls: type[Method], options: Collection[str]) -> None:
    parameters = dict(inspect.signature(cls).parameters)
    parameters.pop("sizes", None)
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return
    for option in options:
        if option not in parameters:
            known = f"it has {', '.join(parameters)}" if parameters else "it has none"
            hint = nearest(option, parameters)
            raise UserError(f"The method {name} has no option {option!r}, {known}{hint}")


def _refusal(cls: type[Method], available: set[str], where: str, many_rows: bool) -> str:
    """Why a task cannot serve a class, or nothing."""
    missing = sorted(cls.needs - available)
    if any(name.endswith("_logits") for name in missing):
        return f"compares logits, which {where} do not have"
    if any(name.endswith("_features") for name in missing):
        return f"compares features, which {where} do not have"
    if missing:
        return f"needs {' and '.join(missing)}, which {where} do not have"
    if cls.relational and many_rows:
        return f"compares samples with each other, and {where} are too many for that"
    return ""


def _usable(available: set[str], where: str, many_rows: bool) -> list[str]:
    usable = []
    for name in METHODS:
        try:
            cls = method_class(name)
        except UserError:  # from outside and broken: no alternative, but no obstacle either
            continue
        if not _refusal(cls, available, where, many_rows):
            usable.append(name)
    return usable
