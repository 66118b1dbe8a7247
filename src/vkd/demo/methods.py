"""The methods that the demonstration compares, as changes of the recipe `digits`."""

from typing import Any

# Each has the weights that did best on validation digits, see benchmarks/digits_tuning.py.
METHODS: dict[str, dict[str, Any]] = {
    "none": {"feature_weight": 0.0},
    "logit": {"feature_weight": 0.0, "logit_weight": 1.0, "temperature": 4.0},
    "linear": {"projection": "linear", "normalization": "identity", "feature_weight": 100.0},
    "vkd": {},
}
NAMES = {
    "none": "alone",
    "logit": "logit distillation",
    "linear": "linear projection, raw features",
    "vkd": "VkD: orthogonal, layer norm",
}
_WEIGHTS = {"linear": 100.0, "mlp": 100.0, "orthogonal": 10.0}
GRID = {
    f"{projection}-{normalization}": {
        "projection": projection,
        "normalization": normalization,
        "feature_weight": weight,
    }
    for projection, weight in _WEIGHTS.items()
    for normalization in ("identity", "layer_norm", "standardize", "whiten")
}
GRID_SEEDS = 2
# Cells of the grid that the table has already.
SAME = {"linear-identity": "linear", "orthogonal-layer_norm": "vkd"}
