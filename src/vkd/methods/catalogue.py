"""The methods by name. A new one is a file beside this one and a line here.

Imports no torch, so that the command line can check names and list methods at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from vkd.errors import FieldError, UserError, nearest


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


# The name that stands for training alone.
NO_METHOD = "none"


def _fitnet(projection: str, summary: str) -> MethodEntry:
    return MethodEntry(
        target="vkd.methods.fitnet:FitNet",
        compares="features",
        fields={"projection": projection, "normalization": "identity"},
        summary=summary,
    )


# Weights beside a cross-entropy of weight 1: of DKD in the paper, of CRD in its release, of SRD in
# its ImageNet configuration; DIST's 2 stands for beta = gamma = 2. RKD's weights are its options.
METHODS: dict[str, MethodEntry] = {
    "vkd": MethodEntry(
        target="vkd.methods.vkd:VkD",
        compares="features",
        summary="orthogonal projection, normalised teacher (Miles et al., CVPR 2024)",
    ),
    "linear": _fitnet("linear", "linear regressor (Romero et al., ICLR 2015)"),
    "mlp": _fitnet("mlp", "regressor with a hidden layer (Romero et al., ICLR 2015)"),
    "identity": _fitnet("identity", "features compared as they are (Romero et al., ICLR 2015)"),
    "kd": MethodEntry(
        target="vkd.methods.kd:KD",
        compares="logits",
        summary="softened class distributions (Hinton et al., 2015)",
    ),
    "dkd": MethodEntry(
        target="vkd.methods.dkd:DKD",
        compares="logits",
        weight=1.0,
        summary="target class and others apart (Zhao et al., CVPR 2022)",
    ),
    "dist": MethodEntry(
        target="vkd.methods.dist:DIST",
        compares="logits",
        weight=2.0,
        summary="correlations of class shares (Huang et al., NeurIPS 2022)",
    ),
    "rkd": MethodEntry(
        target="vkd.methods.rkd:RKD",
        compares="features",
        weight=1.0,
        summary="distances and angles between samples (Park et al., CVPR 2019)",
    ),
    "crd": MethodEntry(
        target="vkd.methods.crd:CRD",
        compares="features",
        weight=0.8,
        summary="contrast with a memory of all samples (Tian et al., ICLR 2020)",
    ),
    "srd": MethodEntry(
        target="vkd.methods.srd:SRD",
        compares="features",
        weight=1.0,
        summary="batch-normalised features, LogSum distance (Miles and Mikolajczyk, AAAI 2024)",
    ),
}


def method_entry(name: str) -> MethodEntry:
    """Return what is known of the method ``name``.

    Raises:
        UserError: if there is none of that name.
    """
    if name not in METHODS:
        known = [*METHODS, NO_METHOD]
        raise FieldError(
            "method", f"must be one of {', '.join(known)}, found {name!r}{nearest(name, known)}"
        )
    return METHODS[name]


def register_method(name: str, entry: MethodEntry) -> None:
    """Add a method under a new name, for those from outside the package.

    Raises:
        UserError: if the name is taken.
    """
    if name in METHODS or name == NO_METHOD:
        raise UserError(f"The method name {name!r} is taken; choose another.")
    METHODS[name] = entry
