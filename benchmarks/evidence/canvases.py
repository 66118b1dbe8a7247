"""The question of detection: a small ViDT on digits on cluttered canvases."""

from typing import Any

from question import Network, Question, tries

REFERENCE = "orthogonal, standardised"
METHODS: dict[str, dict[str, Any]] = {
    "alone": {"feature_weight": 0.0},
    "tokens as they are": {
        "projection": "identity",
        "normalization": "identity",
        "method_options": {"both_sides": False},
    },
    "tokens, standardised": {"projection": "identity"},
    "linear, standardised": {"projection": "linear"},
    "MLP, standardised": {"projection": "mlp"},
    REFERENCE: {},
}
_WEIGHTS = tries("feature_weight", 0.25, 1.0, 4.0, 16.0)
DETECTION = Question(
    title="Digits on cluttered canvases, ViDT, 5 epochs",
    recipe="digits-detection",
    fields={"epochs": 5, "teacher_precision": "float32"},
    methods=METHODS,
    reference=REFERENCE,
    metrics=("AP", "AP50", "condition"),
    alone="alone",
    candidates=dict.fromkeys(METHODS, _WEIGHTS) | {"alone": tries("lr", 5e-4, 1e-3, 2e-3, 4e-3)},
    trial_changes={"epochs": 2},
    networks={"teacher": Network(recipe="digits-detection-teacher", changes={}, metric="AP")},
)
