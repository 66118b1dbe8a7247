"""The methods by name. A new one is a file beside this one and a line here.

Imports no torch, so that the command line can check names and list methods at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class MethodEntry:
    """What is known of a method before it is built.

    Attributes:
        target: the subclass of ``Method``, or ``module:Class``, imported when it is first used.
        compares: ``features`` or ``logits``; a recipe's feature_weight or logit_weight weighs it.
        weight: the weight it takes where the recipe weighs another method; None to keep the
            recipe's.
        fields: recipe fields that choosing it by name sets.
        summary: half a sentence, with its source.
    """

    target: str | type
    compares: Literal["features", "logits"]
    weight: float | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    summary: str = ""


METHODS: dict[str, MethodEntry] = {}

# The name that stands for training alone.
NO_METHOD = "none"
