"""The question of generation from little data: a small BigGAN on shares of Fashion-MNIST."""

from typing import Any

from question import Network, Question, tries

REFERENCE = "orthogonal, whitened"
METHODS: dict[str, dict[str, Any]] = {
    "GAN alone": {"feature_weight": 0.0},
    "linear, raw": {"projection": "linear", "normalization": "identity"},
    "orthogonal, layer norm": {"normalization": "layer_norm"},
    REFERENCE: {"normalization": "whiten", "whitening": "data"},
}
_WEIGHTS = tries("feature_weight", 0.25, 1.0, 4.0, 16.0)
_RATES = (5e-4, 1e-3, 2e-3, 4e-3)
# As many updates of each network, 687, on every share of the 55,000 images. Two fifths of the
# images once are what so many updates see of all of them.
_SHARES = {"100 %": (0.4, 1), "20 %": (0.2, 2), "10 %": (0.1, 4)}
GENERATION = Question(
    title="Fashion-MNIST, BigGAN",
    recipe="gan-fashion-mnist",
    fields={
        "teacher_precision": "float32",
        "mixed_precision": "bf16",
        "compile": True,
        "samples": 2000,
    },
    methods=METHODS,
    reference=REFERENCE,
    metrics=("frechet_distance", "accuracy", "diversity", "recall"),
    conditions={name: {"fraction": f, "epochs": e} for name, (f, e) in _SHARES.items()},
    tuned_at="10 %",
    alone="GAN alone",
    candidates=dict.fromkeys(METHODS, _WEIGHTS)
    | {"GAN alone": [{"lr": rate, "min_lr": rate} for rate in _RATES]},
    most_trials=4,
    trial_changes={"epochs": 2},
    networks={
        "teacher": Network(
            recipe="fashion-mnist-teacher", changes={"epochs": 3}, metric="accuracy"
        ),
        "extractor": Network(
            recipe="fashion-mnist-extractor", changes={"epochs": 2, "seed": 1}, metric="accuracy"
        ),
    },
)
