"""The demonstration's HTML page."""

import json
from pathlib import Path
from typing import Any

from vkd.demo.experiment import NAMES
from vkd.demo.results import GRID_SEEDS, grid_cells
from vkd.reporting import plots
from vkd.reporting.page import (
    curves,
    details,
    figures,
    projection_figure,
    projection_table,
    projections,
    section,
    table,
    write_page,
)
from vkd.reporting.statistics import mean_and_deviation, paired_interval
from vkd.training.checkpoint import read_metrics


def write_demo_report(folder: Path) -> Path:
    """Write ``report.html`` for the folder of ``vkd demo`` and return its path."""
    results = json.loads((folder / "results.json").read_text())
    found = {name: method["accuracy"] for name, method in results["methods"].items()}
    histories = {
        NAMES[name]: [read_metrics(folder / "runs" / f"{name}-{seed}")
                      for seed in range(len(found[name]))]
        for name in NAMES
    }  # fmt: skip
    runs = {NAMES[name]: folder / "runs" / f"{name}-0" for name in ("linear", "vkd")}
    weights = projections(runs)
    best = max(NAMES, key=lambda name: mean_and_deviation(found[name])[0])
    colours = plots.palette(histories)
    dots = plots.accuracies({NAMES[name]: found[name] for name in NAMES}, colours)
    scatter = [(dots, "Test accuracy of every seed; bars are means.")]
    body = [
        section("Methods", table(
            ["method", "test accuracy, %", "VkD minus it", "95 % interval, paired by seed"],
            [_method_row(name, found) for name in NAMES], list(NAMES).index(best))),
        figures(scatter + curves(histories) + projection_figure(weights, colours)),
        projection_table(weights),
        _grid(results),
        details({name: (run / "recipe.yaml").read_text() for name, run in runs.items()}),
    ]  # fmt: skip
    lead = (
        f"Tiny vision transformers learn {results['dataset']}; a CNN with "
        f"{results['teacher']:.1f} % test accuracy teaches them. {len(found['vkd'])} seeds a "
        f"method, {results['seconds']:.0f} s in all."
    )
    return write_page(folder / "report.html", "Orthogonal projections on digits", lead, body)


def _method_row(name: str, found: dict[str, list[float]]) -> list[str]:
    mean, deviation = mean_and_deviation(found[name])
    row = [NAMES[name], f"{mean:.2f} ± {deviation:.2f}"]
    if name == "vkd":
        return [*row, "", ""]
    interval = paired_interval(found["vkd"], found[name])
    return [*row, f"{interval.mean:+.2f}", f"{interval.low:+.2f} to {interval.high:+.2f}"]


def _grid(results: dict[str, Any]) -> str:
    cells = grid_cells(results)
    if not cells:
        return ""
    normalizations = list(dict.fromkeys(cell.split("-")[1] for cell in cells))
    rows = [
        [projection]
        + ["{:.2f} ± {:.2f}".format(*cells[f"{projection}-{name}"]) for name in normalizations]
        for projection in dict.fromkeys(cell.split("-")[0] for cell in cells)
    ]
    cells_table = table(["projection", *normalizations], rows)
    return section(
        f"Projection x normalisation: test accuracy, % ({GRID_SEEDS} seeds)", cells_table
    )
