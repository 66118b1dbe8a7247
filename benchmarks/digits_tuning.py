"""Choose each method's settings for the digits demonstration on its validation digits.

    python benchmarks/digits_tuning.py WORK_FOLDER [--methods linear,vkd]

The learning rate is chosen for training alone, so that no rival of VkD is at a disadvantage by it,
and then each way of distilling gets its own weight. The test digits are never evaluated. The same
command continues what is in WORK_FOLDER.
"""

import argparse
from itertools import product
from pathlib import Path
from typing import Any

from comparison import read_results, trial_rows, write_results
from vkd.comparison.compare import tune_methods
from vkd.comparison.tuning import Trial, Tuning
from vkd.demo.methods import METHODS
from vkd.reporting.statistics import mean_and_deviation

RESULTS = "digits_tuning.json"
RATES = (2e-3, 4e-3, 6e-3, 1e-2)
LOGIT_WEIGHTS, TEMPERATURES = (1.0, 2.0, 4.0, 8.0), (2.0, 4.0)
FEATURE_WEIGHTS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
_WEIGHTS: list[dict[str, Any]] = [{"feature_weight": weight} for weight in FEATURE_WEIGHTS]
CANDIDATES: dict[str, list[dict[str, Any]]] = {
    "none": [{"lr": rate} for rate in RATES],
    "logit": [
        {"logit_weight": weight, "temperature": degree}
        for weight, degree in product(LOGIT_WEIGHTS, TEMPERATURES)
    ],
    "linear": _WEIGHTS,
    "vkd": _WEIGHTS,
}


def tuned(folder: Path, names: list[str], seeds: int, **changes: Any) -> list[Trial]:
    """Return the trials of some methods and print their validation accuracies."""
    methods = {name: METHODS[name] for name in names}
    tuning = Tuning(seeds=seeds, candidates=CANDIDATES)
    trials = tune_methods("digits", methods, folder, tuning, device="cpu", **changes)
    for trial in trials:
        mean, deviation = mean_and_deviation(trial.validation)
        print(f"{trial.variant:<8}{trial.changes!s:<46}{mean:6.2f} ± {deviation:.2f}", flush=True)
    return trials


def main() -> None:
    """Print every candidate's validation accuracy and write the results beside the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a folder for the runs")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument(
        "--methods", default=",".join(METHODS), help="to tune; the others' results are kept"
    )
    arguments = parser.parse_args()
    alone, *others = METHODS
    chosen = arguments.methods.split(",")
    before = read_results(RESULTS)
    rows = [row for row in before["runs"] if row["method"] not in chosen]
    kept = {"methods": sorted({row["method"] for row in rows}), "of": before["environment"]}
    if alone in chosen:
        rows = rows + trial_rows(tuned(arguments.folder / "rate", [alone], arguments.seeds))
    rate = max((row for row in rows if row["method"] == alone), key=_mean)["lr"]
    names = [name for name in others if name in chosen]
    if names:
        trials = tuned(arguments.folder / "weights", names, arguments.seeds, lr=rate)
        rows = rows + trial_rows(trials)
    rows.sort(key=lambda row: list(METHODS).index(row["method"]))
    write_results(RESULTS, ({"kept": kept} if kept["methods"] else {}) | {"runs": rows})


def _mean(row: dict[str, Any]) -> float:
    return mean_and_deviation(row["validation"])[0]


if __name__ == "__main__":
    main()
