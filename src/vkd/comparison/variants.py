"""What a comparison compares: a recipe, changed in named ways."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vkd.config import DistillationConfig, TrainingConfig
from vkd.errors import FieldError, UserError, nearest
from vkd.methods.catalogue import NO_METHOD, method_entry
from vkd.recipe import changed, config_of

Methods = Sequence[str] | Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Variant:
    """A recipe by the name of what is changed in it.

    Attributes:
        name: shown in tables.
        config: the recipe with the changes.
    """

    name: str
    config: TrainingConfig

    def with_changes(self, changes: Mapping[str, Any]) -> "Variant":
        """Return the variant with more fields changed."""
        return Variant(self.name, config_of(asdict(self.config) | dict(changes)))


def variants_of(base: TrainingConfig, methods: Methods) -> list[Variant]:
    """Return the variants of a recipe.

    Args:
        base: the recipe.
        methods: names of methods, ``none`` for training alone; or changes of fields by name.

    Raises:
        FieldError: for none, or one that the task cannot serve.
    """
    if not isinstance(methods, Mapping):
        for name in methods:
            if name != NO_METHOD:
                _check_named(name)
        methods = {name: {"method": name} for name in methods}
    if not methods:
        raise FieldError("methods", "must name two or more methods, found none.")
    folders: dict[str, str] = {}
    for name in methods:
        other = folders.setdefault(safe_name(name), name)
        if other != name:
            raise FieldError("methods", f"are {other!r} and {name!r}; give them other names.")
    return [_variant(base, name, changes) for name, changes in methods.items()]


def _check_named(name: str) -> None:
    try:
        method_entry(name)
    except UserError as error:
        raise FieldError("methods", f": {error}") from None


def _variant(base: TrainingConfig, name: str, changes: Mapping[str, Any]) -> Variant:
    try:
        return Variant(name, config_of(changed(asdict(base), changes)))
    except UserError as error:
        raise FieldError("methods", f": {name}: {error}") from None


def reference_of(variants: Sequence[Variant], name: str) -> str:
    """Return the name of the variant that the others are compared with; the first by default.

    Raises:
        FieldError: if there is none of that name.
    """
    names = [variant.name for variant in variants]
    if name and name not in names:
        raise FieldError(
            "reference", f"must be one of {', '.join(names)}, found {name!r}{nearest(name, names)}"
        )
    return name or names[0]


def safe_name(name: str) -> str:
    """Return a name as it can be that of a folder anywhere."""
    return re.sub(r"[^\w.+-]+", "-", name).strip("-.") or "variant"


def tuned_field(config: TrainingConfig) -> str:
    """Return the field that tuning chooses: the weight of what the method compares, else lr."""
    if not isinstance(config, DistillationConfig) or not config.needs_teacher:
        return "lr"
    return "feature_weight" if config.feature_weight else "logit_weight"


def differences(config: TrainingConfig, base: TrainingConfig) -> dict[str, Any]:
    """Return the fields by which a recipe differs from another, with its values."""
    values, others = asdict(config), asdict(base)
    return {name: value for name, value in values.items() if value != others[name]}
