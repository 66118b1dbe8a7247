"""`vkd demo`: runs the experiment, prints the table and writes results, plots and a report."""

import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from rich.console import Console

from vkd.demo.experiment import GRID, METHODS, run_all, student_jobs, train_teacher
from vkd.demo.report import write_demo_report
from vkd.demo.results import GRID_SEEDS, tables
from vkd.errors import UserError
from vkd.reporting.environment import environment


def run_demo(folder: Path, seeds: int = 5, epochs: int = 0, grid: bool = True) -> dict[str, Any]:
    """Run the demonstration into a new folder and return what ``results.json`` holds.

    Args:
        folder: where the runs, ``results.json``, plots and ``report.html`` go; must be new.
        seeds: students of each method, at least 2 (the grid takes at most 2).
        epochs: of students and teacher; 0 for the recipes' own.
        grid: also run projection x normalisation.

    Raises:
        UserError: if the folder is not empty or there are too few seeds.
    """
    if seeds < 2:
        raise UserError(f"--seeds must be at least 2, found {seeds}.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"--output {folder} exists already; name a new folder.")
    overrides = {"epochs": epochs, "warmup_epochs": 0} if epochs else {}
    console = Console()
    began = time.monotonic()
    console.print("Training a CNN teacher on 718 digits ...")
    teacher = train_teacher(folder / "teacher", overrides)
    console.print(f"The teacher classifies {teacher:.1f} % of 899 test digits.")
    jobs = [
        job
        for job in student_jobs(folder, seeds, overrides, grid)
        if job.method in METHODS or job.seed < GRID_SEEDS
    ]
    accuracies: dict[str, dict[int, float]] = defaultdict(dict)
    with console.status("") as status:
        for done, (job, accuracy) in enumerate(run_all(jobs), 1):
            accuracies[job.method][job.seed] = accuracy
            line = f"student {done}/{len(jobs)}: {job.method}, seed {job.seed}: {accuracy:.1f} %"
            status.update(line)
            if not console.is_terminal:
                console.print(line)
    results = {
        "dataset": "scikit-learn digits: 718 training, 180 validation, 899 test images of 8x8",
        "teacher": teacher,
        "methods": {
            name: {"accuracy": [by_seed[seed] for seed in sorted(by_seed)]}
            for name, by_seed in sorted(accuracies.items(), key=lambda item: _order(item[0]))
        },
        "seconds": round(time.monotonic() - began, 1),
        "environment": environment(),
    }
    (folder / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    for table in tables(results):
        console.print(table)
    report = write_demo_report(folder)
    console.print(f"{results['seconds']:.0f} s. Report: {report}")
    return results


def _order(method: str) -> int:
    return [*METHODS, *GRID].index(method)
