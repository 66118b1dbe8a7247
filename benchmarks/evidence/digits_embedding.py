"""The question of embeddings without labels: a narrow ViT on digits."""

from typing import Any

from question import Network, Question, tries

REFERENCE = "orthogonal, layer norm"
METHODS: dict[str, dict[str, Any]] = {
    "untrained": {"method": "none"},
    "linear, raw": {"projection": "linear", "normalization": "identity"},
    "linear, layer norm": {"projection": "linear"},
    "MLP, raw": {"projection": "mlp", "normalization": "identity"},
    "MLP, layer norm": {"projection": "mlp"},
    REFERENCE: {},
}
_WEIGHTS = tries("feature_weight", 0.25, 1.0, 4.0, 16.0)
EMBEDDING = Question(
    title="Digits without labels, 30 epochs, width 32 to 128",
    recipe="digits-embedding",
    fields={"epochs": 30},
    methods=METHODS,
    reference=REFERENCE,
    metrics=("knn", "linear_probe", "recall_1", "mixed_recall_1", "cka"),
    far_off=("untrained",),
    candidates=dict.fromkeys(METHODS, _WEIGHTS) | {"untrained": [{}]},
    # Of the trials; a teacher is trained in seconds, so that every seed has one of its own.
    networks={
        "teacher": Network(recipe="digits-teacher", changes={"seed": 100}, metric="accuracy")
    },
    own_teachers=True,
)
