"""GANs on a tenth of Fashion-MNIST, by each method of teaching the discriminator.

    python benchmarks/generation.py FOLDER --teacher TEACHER_RUN --extractor EXTRACTOR_RUN [--tune]

TEACHER_RUN is a run of `vkd train fashion-mnist-teacher`, EXTRACTOR_RUN one of `vkd train
fashion-mnist-extractor --seed 1`. With ``--tune``, each method's weight is chosen by the distance
to the validation images in a shorter run of another seed; without, every method is trained with
its weight and compared once with the test images. Runs in FOLDER that are complete are not trained
again. The features are a local network's, so the distance is no FID.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

from comparison import best_weights, by_method, folder_name, pool, tables, write_results
from vkd.recipe import config_of, read_recipe

REFERENCE = "VkD whiten"
METHODS: dict[str, dict[str, Any]] = {
    "GAN alone": {"feature_weight": 0.0},
    "linear": {"projection": "linear", "normalization": "identity"},
    "VkD layer_norm": {"normalization": "layer_norm"},
    REFERENCE: {"normalization": "whiten", "whitening": "data"},
    "VkD whiten, by batch": {"normalization": "whiten", "whitening": "batch"},
}
WEIGHTS = (0.3, 3.0)
METRICS = ("frechet_distance", "accuracy", "diversity", "recall")
TUNING = "generation_tuning.json"


def run(job: tuple[dict[str, Any], Path, bool]) -> dict[str, float]:
    """Train by ``fields`` into ``folder``; return the validation or test metrics."""
    import torch

    from vkd.api.evaluate import evaluate
    from vkd.api.train import train

    torch.set_num_threads(1)
    fields, folder, on_test = job
    resume = (folder / "recipe.yaml").is_file()
    metrics = train(config_of(fields), folder, resume=resume, show=False)
    return evaluate(str(folder), device="cpu") if on_test else metrics


def tune(workers: ProcessPoolExecutor, recipe: dict[str, Any], folder: Path) -> None:
    """Write the validation distance of every method with every weight."""
    labels = list(product(WEIGHTS, list(METHODS)[1:]))
    epochs = max(1, recipe["epochs"] // 2)
    shape = {"seed": 100, "epochs": epochs, "evaluate_every": epochs}
    jobs = [
        (
            recipe | METHODS[name] | shape | {"feature_weight": weight},
            folder / folder_name(f"tune-{name}", weight),
            False,
        )
        for weight, name in labels
    ]
    rows = []
    for (weight, name), found in zip(labels, workers.map(run, jobs), strict=True):
        row = {"method": name, "feature_weight": weight}
        rows.append(row | {"validation": found["frechet_distance"]})
        print(rows[-1], flush=True)
    write_results(TUNING, {"runs": rows})


def compare(workers: ProcessPoolExecutor, recipe: dict[str, Any], folder: Path, seeds: int) -> None:
    """Write the table: test distance by method, and that of whitening, paired."""
    chosen = best_weights(TUNING, min)
    names = list(product(range(seeds), METHODS))
    jobs = [
        (
            recipe | METHODS[name] | chosen.get(name, {}) | {"seed": seed},
            folder / folder_name(name, seed),
            True,
        )
        for seed, name in names
    ]
    found = by_method(names, workers.map(run, jobs), METRICS)
    lines = tables(found, REFERENCE)
    print("\n".join(lines))
    write_results(
        "generation.json", {"metrics": found, "weights": chosen, "recipe": recipe, "table": lines}
    )


def main() -> None:
    """Tune or compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a folder for the runs")
    parser.add_argument("--teacher", required=True, help="run folder of the teacher")
    parser.add_argument("--extractor", required=True, help="run folder of the extractor")
    parser.add_argument("--tune", action="store_true")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=0, help="0 for the recipe's")
    arguments = parser.parse_args()
    recipe = asdict(config_of(read_recipe("gan-fashion-mnist"))) | {
        "teacher_checkpoint": arguments.teacher,
        "extractor_checkpoint": arguments.extractor,
        "device": "cpu",
        "trackers": "",
    }
    recipe["epochs"] = arguments.epochs or recipe["epochs"]
    recipe |= {"evaluate_every": recipe["epochs"], "checkpoint_every": 1}
    with pool() as workers:
        if arguments.tune:
            tune(workers, recipe, arguments.folder)
        else:
            compare(workers, recipe, arguments.folder, arguments.seeds)


if __name__ == "__main__":
    main()
