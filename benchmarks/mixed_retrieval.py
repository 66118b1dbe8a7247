"""Retrieval between a student and its teacher: who makes the index, and who the queries.

    python benchmarks/mixed_retrieval.py WORK_FOLDER

Students of the recipe `digits-embedding` learn, without labels, a teacher's features, on digits
and on Fashion-MNIST (Debian's package dataset-fashion-mnist). The training images are the index and
the test images the queries; a query is answered at k if one of the k nearest pictures is of its
class. Four ways:

- student-student: the student embeds both.
- teacher-teacher: the teacher embeds both, by its raw features.
- teacher index: the teacher's features, normalised as in training, are searched with the student's,
  which pass the orthogonal projection. A query needs no teacher.
- folded index: the same, folded to the student's width by the projection's transpose.

One teacher a data set, unless it is there in WORK_FOLDER already; students differ by seed. The same
command continues what is in WORK_FOLDER.
"""

import argparse
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

import vkd
from comparison import write_results
from vkd.data import fashion_mnist
from vkd.embedding.measures import RECALLS
from vkd.reporting.statistics import mean_and_deviation

WAYS = {
    "student-student": "recall",
    "teacher-teacher": "teacher_recall",
    "teacher index": "mixed_recall",
    "folded index": "folded_recall",
}
TEACHERS = {"digits": "digits-teacher", "fashion-mnist": "fashion-mnist-teacher"}
STUDENTS: dict[str, dict[str, Any]] = {
    "digits": {},
    "fashion-mnist": {
        "dataset": "fashion-mnist", "student": "conv_vit_fashion", "teacher": "cnn_fashion",
        "batch_size": 128, "lr": 2e-3, "warmup_epochs": 1, "crop_padding": 2, "flip": True,
    },
}  # fmt: skip
Scores = dict[str, dict[int, list[float]]]


def trained(recipe: str, folder: Path, **fields: Any) -> Path:
    """Return the run folder of a recipe, trained unless it is."""
    if not (folder / "model.safetensors").exists():
        vkd.train(recipe, folder, resume=folder.exists(), device="cpu", trackers="", **fields)
    return folder


def measured(
    dataset: str, folder: Path, seeds: int, teacher: dict[str, Any], student: dict[str, Any]
) -> tuple[Scores, dict[str, int]]:
    """Return the recall in % by way, k and seed, and the numbers of features of both indices."""
    network = trained(TEACHERS[dataset], folder / "teacher", **teacher)
    fields = STUDENTS[dataset] | student | {"teacher_checkpoint": str(network)}
    scores: Scores = {way: {k: [] for k in RECALLS} for way in WAYS}
    widths: dict[str, int] = {}
    for seed in range(seeds):
        run = trained("digits-embedding", folder / f"student-{seed}", seed=seed, **fields)
        metrics = vkd.evaluate(str(run), device="cpu")
        for way, name in WAYS.items():
            for k in RECALLS:
                scores[way][k].append(metrics[f"{name}_{k}"])
        projection = load_file(run / "projection.safetensors")["weight"]
        widths = dict(zip(("teacher", "student"), projection.shape, strict=True))
    return scores, widths


def table(dataset: str, scores: Scores, widths: dict[str, int]) -> list[str]:
    """Return lines of Markdown: mean and deviation over the seeds of each recall."""
    heads = "".join(f" recall at {k}, % |" for k in RECALLS)
    lines = [f"| {dataset} | features of a row |{heads}", f"|---|---|{'---|' * len(RECALLS)}"]
    for way, found in scores.items():
        width = widths["teacher" if way.startswith("teacher") else "student"]
        cells = []
        for values in found.values():
            mean, deviation = mean_and_deviation(values)
            cells.append(f"{mean:.2f}" + (f" ± {deviation:.2f}" if deviation else ""))
        lines.append(f"| {way} | {width} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    """Train, measure, print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a folder for runs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=0, help="on digits; 0 for the recipe's")
    parser.add_argument("--fashion-epochs", type=int, default=6)
    parser.add_argument("--fashion-teacher-epochs", type=int, default=3)
    parser.add_argument(
        "--fashion-fraction", type=float, default=0.1, help="of its training images"
    )
    parser.add_argument("--data-path", default="", help="folder of Fashion-MNIST's files")
    parser.add_argument("--output", default="mixed_retrieval.json")
    arguments = parser.parse_args()
    place = {"data_path": arguments.data_path, "train_fraction": arguments.fashion_fraction}
    epochs = {"evaluate_every": 100}
    fields: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "digits": ({}, epochs | ({"epochs": arguments.epochs} if arguments.epochs else {})),
        "fashion-mnist": (
            place | {"epochs": arguments.fashion_teacher_epochs},
            place | epochs | {"epochs": arguments.fashion_epochs},
        ),
    }
    if not (arguments.data_path or fashion_mnist.DEBIAN_FOLDER.is_dir()):
        print("fashion-mnist is left out, as its files are not here; see --data-path")
        del fields["fashion-mnist"]
    content: dict[str, Any] = {}
    for dataset, (teacher, student) in fields.items():
        folder = arguments.folder / dataset
        scores, widths = measured(dataset, folder, arguments.seeds, teacher, student)
        lines = table(dataset, scores, widths)
        print("\n".join([*lines, ""]))
        shown = STUDENTS[dataset] | student | {"teacher": teacher}
        shown.pop("data_path", None)
        content[dataset] = {"recall": scores, "features": widths, "fields": shown, "table": lines}
        content[dataset]["fields"]["teacher"].pop("data_path", None)
    write_results(arguments.output, {"seeds": arguments.seeds, **content})


if __name__ == "__main__":
    main()
