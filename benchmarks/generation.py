"""GANs on a tenth of Fashion-MNIST, by each method of teaching the discriminator.

    python benchmarks/generation.py FOLDER

Each method's weight (of the GAN alone the lr) is chosen by the distance to the validation images in
runs of half the epochs; every method is then trained with its weight and compared once with the
test images. The teacher and the extractor are trained in FOLDER, unless --teacher and --extractor
name runs of `vkd train fashion-mnist-teacher` and `vkd train fashion-mnist-extractor --seed 1`. The
same command continues what is in FOLDER. The features are a local network's, so the distance is no
FID.
"""

import argparse
from pathlib import Path
from typing import Any

import vkd
from comparison import by_metric, chosen_weights, tables, trial_rows, write_results
from vkd.comparison.tuning import Trial, Tuning
from vkd.recipe import read_recipe

REFERENCE = "VkD whiten"
METHODS: dict[str, dict[str, Any]] = {
    "GAN alone": {"feature_weight": 0.0},
    "linear": {"projection": "linear", "normalization": "identity"},
    "VkD layer_norm": {"normalization": "layer_norm"},
    REFERENCE: {"normalization": "whiten", "whitening": "data"},
    "VkD whiten, by batch": {"normalization": "whiten", "whitening": "batch"},
}
WEIGHTS, RATES = (0.3, 3.0), (5e-4, 1e-3)
METRICS = ("frechet_distance", "accuracy", "diversity", "recall")
CANDIDATES: dict[str, list[dict[str, Any]]] = {
    name: [{"feature_weight": weight} for weight in WEIGHTS] for name in METHODS
} | {"GAN alone": [{"lr": rate, "min_lr": rate} for rate in RATES]}


def main() -> None:
    """Tune and compare; print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a folder for the runs")
    parser.add_argument("--teacher", default="", help="run folder of the teacher")
    parser.add_argument("--extractor", default="", help="run folder of the extractor")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=0, help="0 for the recipe's")
    arguments = parser.parse_args()
    epochs = arguments.epochs or read_recipe("gan-fashion-mnist")["epochs"]
    results = vkd.compare(
        "gan-fashion-mnist", METHODS, arguments.folder, seeds=arguments.seeds,
        reference=REFERENCE, tuning=Tuning(epochs=max(1, epochs // 2), candidates=CANDIDATES),
        teacher_checkpoint=arguments.teacher, extractor_checkpoint=arguments.extractor,
        device="cpu", epochs=epochs, evaluate_every=epochs,
    )  # fmt: skip
    rows = trial_rows([Trial(**trial) for trial in results["tuning"]])
    write_results("generation_tuning.json", {"runs": rows})
    found = by_metric(results, METRICS)
    lines = tables(found, REFERENCE)
    print("\n".join(lines))
    content = {"metrics": found, "weights": chosen_weights(results)}
    write_results("generation.json", content | {"recipe": results["recipe"], "table": lines})


if __name__ == "__main__":
    main()
