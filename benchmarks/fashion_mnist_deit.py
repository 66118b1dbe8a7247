"""A scaled-down distilled DeiT on Fashion-MNIST, by each method; the table of the README.

    python benchmarks/fashion_mnist_deit.py WORK_FOLDER

Each method's weight is chosen on the validation images, in runs of 3 epochs; every method is then
trained with its weight and evaluated on the test images once. Students see a fifth of the training
images (11,000) unless --train-fraction says otherwise, as fifteen of them would take two cores
hours with all; the teacher sees all 55,000. It is trained in WORK_FOLDER/teacher, unless --teacher
names a run of `vkd train fashion-mnist-teacher`. The same command continues what is in WORK_FOLDER.
"""

import argparse
from pathlib import Path
from typing import Any

import vkd
from comparison import by_metric, chosen_weights, table, trial_rows, write_results
from vkd.comparison.tuning import Trial, Tuning

REFERENCE = "VkD layer_norm"
# All that distil features distil logits as well, as the paper does.
_FEATURES = {"logit_weight": 1.0}
METHODS: dict[str, dict[str, Any]] = {
    "alone": {"feature_weight": 0.0, "logit_weight": 0.0},
    "logit": {"feature_weight": 0.0, "logit_weight": 1.0},
    "linear": _FEATURES | {"projection": "linear", "normalization": "identity"},
    REFERENCE: _FEATURES | {"normalization": "layer_norm"},
    "VkD standardize": _FEATURES | {"normalization": "standardize"},
}
LOGIT_WEIGHTS, FEATURE_WEIGHTS, RATES = (1.0, 2.0, 4.0), (1.0, 8.0, 64.0), (1e-3, 2e-3, 4e-3)
CANDIDATES: dict[str, list[dict[str, Any]]] = {
    name: [{"feature_weight": weight} for weight in FEATURE_WEIGHTS] for name in METHODS
} | {
    "alone": [{"lr": rate} for rate in RATES],
    "logit": [{"logit_weight": weight} for weight in LOGIT_WEIGHTS],
}


def main() -> None:
    """Tune and compare; print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a folder for the runs")
    parser.add_argument("--teacher", default="", help="run folder of the teacher")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--train-fraction", type=float, default=0.2)
    arguments = parser.parse_args()
    results = vkd.compare(
        "fashion-mnist-deit", METHODS, arguments.folder, seeds=arguments.seeds,
        reference=REFERENCE, tuning=Tuning(epochs=3, candidates=CANDIDATES),
        teacher_checkpoint=arguments.teacher, device="cpu", epochs=arguments.epochs,
        train_fraction=arguments.train_fraction, evaluate_every=arguments.epochs,
    )  # fmt: skip
    rows = trial_rows([Trial(**trial) for trial in results["tuning"]])
    write_results("fashion_mnist_deit_tuning.json", {"runs": rows})
    accuracy = by_metric(results, ["accuracy"])["accuracy"]
    lines = table(accuracy, REFERENCE, "test accuracy, %")
    print("\n".join(lines))
    found = {"accuracy": accuracy, "weights": chosen_weights(results)}
    found |= {"recipe": results["recipe"], "table": lines}
    write_results("fashion_mnist_deit.json", found)


if __name__ == "__main__":
    main()
