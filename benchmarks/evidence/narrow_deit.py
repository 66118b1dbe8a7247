"""The questions of recognition: a narrow DeiT on Fashion-MNIST, its teacher eight times as wide."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from question import Network, Question, tries

NARROW = f"{Path(__file__).parent / 'students.py'}:deit_width_32"
TEACHER = Network(
    recipe="fashion-mnist-teacher", changes={"epochs": 3, "workers": 0}, metric="accuracy"
)
ALONE, LOGITS, REFERENCE = "alone", "logits alone", "orthogonal, layer norm"
_NORMALIZATIONS = {"raw": "identity", "layer norm": "layer_norm", "standardise": "standardize"}
# All that compare features distil logits as well, as the paper does.
_LOGITS = {"logit_weight": 1.0, "temperature": 1.0}
_FEATURES: dict[str, dict[str, Any]] = {
    f"{projection}, {name}": _LOGITS | {"projection": projection, "normalization": normalization}
    for projection in ("linear", "mlp", "orthogonal")
    for name, normalization in _NORMALIZATIONS.items()
}
METHODS: dict[str, dict[str, Any]] = {
    ALONE: {"feature_weight": 0.0, "logit_weight": 0.0},
    # What those that compare features have beside them.
    LOGITS: {"feature_weight": 0.0} | _LOGITS,
    "KD": {"feature_weight": 0.0, "logit_weight": 1.0},
    # As the paper has it on ImageNet.
    "DKD": {"method": "dkd", "method_options": {"temperature": 1.0, "beta": 0.5}},
    "DIST": {"method": "dist"},
    "RKD": {"method": "rkd"} | _LOGITS,
    "CRD": {"method": "crd"} | _LOGITS,
    "SRD": {"method": "srd"} | _LOGITS,
    **_FEATURES,
}


_OF_FEATURES = tries("feature_weight", 1.0, 4.0, 16.0, 64.0)
CANDIDATES: dict[str, list[dict[str, Any]]] = {
    ALONE: tries("lr", 1e-3, 2e-3, 4e-3, 8e-3),
    LOGITS: [{}],
    "KD": [{"logit_weight": w, "temperature": t} for w in (1.0, 4.0) for t in (1.0, 4.0)],
    "DKD": tries("logit_weight", 0.25, 1.0, 4.0, 16.0),
    "DIST": tries("logit_weight", 0.5, 2.0, 8.0, 32.0),
    "RKD": tries("feature_weight", 0.25, 1.0, 4.0, 16.0),
    "CRD": tries("feature_weight", 0.2, 0.8, 3.2, 12.8),
    "SRD": tries("feature_weight", 0.25, 1.0, 4.0, 16.0),
    **dict.fromkeys(_FEATURES, _OF_FEATURES),
}
FOUR = (ALONE, "KD", "linear, layer norm", REFERENCE)


def _of(names: Iterable[str]) -> dict[str, Any]:
    return {
        "methods": {name: METHODS[name] for name in names},
        "candidates": {name: CANDIDATES[name] for name in names},
        "reference": REFERENCE,
        "alone": ALONE,
    }


def _question(title: str, **own: Any) -> Question:
    fields: dict[str, Any] = {"student": NARROW, "student_layer": "norm", "train_fraction": 0.2}
    return Question(
        recipe="fashion-mnist-deit",
        fields=fields | own.pop("fields", {}),
        metrics=("accuracy", "condition", "cka_before", "cka_after"),
        networks={"teacher": TEACHER},
        title=title,
        **own,
    )


_FOUR = _of(FOUR) | {"settings_of": "recognition"}
RECOGNITION = _question(
    "A fifth of Fashion-MNIST, 5 epochs, width 32 to 256",
    fields={"epochs": 5},
    trial_changes={"epochs": 2},
    views=5,
    **_of(METHODS),
)
SCHEDULES = _question(
    "A twentieth of Fashion-MNIST, width 32 to 256",
    fields={"train_fraction": 0.05},
    conditions={
        f"{epochs} epochs": {
            "epochs": epochs,
            "checkpoint_every": epochs // 5,
            "checkpoints_kept": 5,
        }
        for epochs in (5, 20, 60)
    },
    views=60,
    along_the_way=True,
    **_FOUR,
)
WIDTHS = _question(
    "A fifth of Fashion-MNIST, 5 epochs, width 64 to 256",
    fields={"epochs": 5, "student": "deit_fashion_distilled"},
    views=5,
    **_FOUR,
)
# As many updates, 430, on the labelled images alone, and as large a share of them to warm up; one
# percent of the images is less than a batch.
_LABELLED = {0.01: {"epochs": 430, "batch_size": 110}, 0.1: {"epochs": 50}}
LABELS = _question(
    "A fifth of Fashion-MNIST, 5 epochs, width 32 to 256",
    fields={"epochs": 5},
    conditions={f"{share:.0%} of the labels": {"label_fraction": share} for share in _LABELLED},
    of_alone={
        f"{share:.0%} of the labels": own
        | {"evaluate_every": own["epochs"], "warmup_epochs": own["epochs"] // 5}
        for share, own in _LABELLED.items()
    },
    views=5,
    **_FOUR | _of((*FOUR, LOGITS)),
)

# Features that are standardised over the batch before the projection, and a learned scale after it.
SCALED = f"{REFERENCE}, scaled"
_SCALED = {"method_options": {"standardize_student": True}}
_OF_SCALE: dict[str, dict[str, Any]] = {
    "SRD": METHODS["SRD"],
    "linear, layer norm": METHODS["linear, layer norm"],
    "linear, layer norm, scaled": METHODS["linear, layer norm"] | _SCALED,
    REFERENCE: METHODS[REFERENCE],
    SCALED: METHODS[REFERENCE] | _SCALED,
}
_OF_BOTH = [{"feature_weight": f, "logit_weight": w} for f in (1.0, 4.0) for w in (1.0, 4.0)]
SCALE = _question(
    "A fifth of Fashion-MNIST, 5 epochs, width 32 to 256, both weights free",
    fields={"epochs": 5, "lr": 4e-3},
    methods=_OF_SCALE,
    candidates=dict.fromkeys(_OF_SCALE, _OF_BOTH),
    reference=SCALED,
    trial_changes={"epochs": 2},
    views=5,
)
