"""How far apart trainings of one GAN lie: distances along the way, by seed.

    python benchmarks/generation_seeds.py WORK_FOLDER

The recipe `gan-digits` alone, taught with two weights, and with a rate that falls. The teacher and
the extractor are those that `benchmarks/generation_terms.py WORK_FOLDER` trains. The same command
continues what is in WORK_FOLDER; a finished training is not repeated.
"""

import argparse
from pathlib import Path
from typing import Any

import vkd
from comparison import write_results
from vkd.training.records import read_metrics

RECIPE, SHOWN = "gan-digits", (10, 20, 30)
WAYS: dict[str, dict[str, Any]] = {
    "alone": {"method": "none"},
    "weight 0.3": {"feature_weight": 0.3},
    "weight 1": {"feature_weight": 1.0},
    "weight 1, falling rate": {"feature_weight": 1.0, "min_lr": 0.0},
}


def trained(folder: Path, name: str, seed: int) -> list[dict[str, Any]]:
    """Return the records of a training, of its epochs with metrics."""
    run = folder / f"{name.replace(' ', '-')}-{seed}"
    if not (run / "model.safetensors").exists() or len(read_metrics(run)) < SHOWN[-1]:
        fields: dict[str, Any] = {
            "extractor_checkpoint": str(folder / "extractor"), "seed": seed, "device": "cpu",
            "evaluate_every": SHOWN[0], "trackers": "",
        }  # fmt: skip
        if WAYS[name].get("method") != "none":
            fields |= {
                "teacher_checkpoint": str(folder / "teacher"),
                "teacher_precision": "float32",
            }
        vkd.train(RECIPE, run, resume=run.exists(), show=False, **fields | WAYS[name])
    return [record for record in read_metrics(run) if "validation" in record]


def row(name: str, seed: int, records: list[dict[str, Any]]) -> str:
    """Return a line of Markdown."""
    by_epoch = {record["epoch"]: record["validation"] for record in records}
    cells = [f"{by_epoch[at]['frechet_distance']:.1f}" if at in by_epoch else "" for at in SHOWN]
    last = records[-1]
    share = f"{100 * last['explained']['feature']:.1f}" if "explained" in last else ""
    end = [
        f"{last['validation'][metric]:.{n}f}" for metric, n in (("accuracy", 1), ("diversity", 2))
    ]
    return f"| {' | '.join([name, str(seed), *cells, *end, share])} |"


def main() -> None:
    """Train every way with every seed; print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a folder for the runs")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    found = {
        (name, seed): trained(arguments.folder.absolute(), name, seed)
        for name in WAYS
        for seed in range(arguments.seeds)
    }
    heads = [f"distance after {epoch} epochs" for epoch in SHOWN]
    heads += ["accuracy, %", "diversity", "explained, %"]
    lines = [f"| | seed | {' | '.join(heads)} |", f"|---|---|{'---|' * len(heads)}"]
    lines += [row(name, seed, records) for (name, seed), records in found.items()]
    print("\n".join(lines))
    runs = [
        {"way": name, "seed": seed, "epochs": [
            {"epoch": record["epoch"], **record["validation"]} for record in records
        ]}
        for (name, seed), records in found.items()
    ]  # fmt: skip
    title = f"`{RECIPE}`, {SHOWN[-1]} epochs, by seed"
    content = {"title": title, "trials": [], "runs": runs, "table": lines}
    write_results("generation_seeds.json", content)


if __name__ == "__main__":
    main()
