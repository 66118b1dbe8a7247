"""A distilled DeiT on Fashion-MNIST with mixed images: the network beside it, and stores of it.

    python benchmarks/fashion_mnist_stores.py WORK_FOLDER

The recipe `fashion-mnist-deit` with the paper's mixing: mixup 0.8, CutMix 1.0, smoothing 0.1. Three
ways to the teacher's outputs: the network, which sees new views and pairs in every epoch; a store
of as many views as there are epochs, exact (float32, all logits); and a small one (int8, the
largest logits alone). Every way is trained with the same seeds and evaluated on the test images
once. The teacher is trained in WORK_FOLDER/teacher, unless --teacher names a run of
`vkd train fashion-mnist-teacher`. The same command continues what is in WORK_FOLDER.
"""

import argparse
from pathlib import Path
from typing import Any

import vkd
from comparison import by_metric, table, write_results

REFERENCE = "network"
RECIPE = "fashion-mnist-deit"
FORMATS: dict[str, dict[str, Any]] = {
    "exact store": {"dtype": "float32"},
    "small store": {"dtype": "int8", "top_k": 3},
}
MIXING: dict[str, Any] = {
    "mixup": 0.8, "cutmix": 1.0, "mixup_mode": "pair", "label_smoothing": 0.1,
}  # fmt: skip


def trained_teacher(arguments: argparse.Namespace) -> str:
    """Return the run folder of the teacher."""
    folder = arguments.folder / "teacher"
    if arguments.teacher:
        return str(arguments.teacher)
    vkd.train(
        "fashion-mnist-teacher", folder, resume=folder.exists(), device="cpu", trackers="",
        data_path=arguments.data_path, epochs=arguments.teacher_epochs,
        train_fraction=arguments.teacher_fraction,
    )  # fmt: skip
    return str(folder)


def main() -> None:
    """Fill the stores, compare, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a folder for stores and runs")
    parser.add_argument("--data-path", default="", help="folder of Fashion-MNIST's files")
    parser.add_argument("--teacher", default="", help="run folder of the teacher")
    parser.add_argument("--teacher-epochs", type=int, default=3)
    parser.add_argument("--teacher-fraction", type=float, default=0.2)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--train-fraction", type=float, default=0.1)
    parser.add_argument("--output", default="fashion_mnist_stores.json")
    arguments = parser.parse_args()
    fields = MIXING | {
        "teacher_checkpoint": trained_teacher(arguments), "data_path": arguments.data_path,
        "device": "cpu", "train_fraction": arguments.train_fraction,
    }  # fmt: skip
    methods: dict[str, dict[str, Any]] = {REFERENCE: {}}
    sizes = {}
    for name, options in FORMATS.items():
        store = arguments.folder / name.replace(" ", "-")
        sizes[name] = vkd.cache(RECIPE, store, views=arguments.epochs, **options, **fields)
        methods[name] = {"teacher_store": str(store)}
    results = vkd.compare(
        RECIPE, methods, arguments.folder / "comparison", seeds=arguments.seeds,
        reference=REFERENCE, epochs=arguments.epochs, evaluate_every=arguments.epochs, **fields,
    )  # fmt: skip
    accuracy = by_metric(results, ["accuracy"])["accuracy"]
    lines = table(accuracy, REFERENCE, "test accuracy, %")
    print("\n".join(lines))
    for name, found in sizes.items():
        print(f"{name}: {found['row_bytes']:.0f} bytes a row, {found['megabytes']:.1f} MB")
    kept = ("row_bytes", "megabytes", "kept_mass", "least_kept_mass")
    content = {
        name: {key: found[key] for key in kept if key in found} for name, found in sizes.items()
    }
    recipe = {key: value for key, value in results["recipe"].items() if key != "data_path"}
    write_results(
        arguments.output,
        {"accuracy": accuracy, "stores": content, "recipe": recipe, "table": lines},
    )


if __name__ == "__main__":
    main()
