"""The demonstration's results as tables."""

from typing import Any

from rich.table import Table

from vkd.demo.experiment import GRID, NAMES, SAME
from vkd.reporting.statistics import mean_and_deviation, paired_interval

GRID_SEEDS = 2


def tables(results: dict[str, Any]) -> list[Table]:
    """Return the table of methods, that of paired differences and, if it was run, the grid."""
    found = {name: method["accuracy"] for name, method in results["methods"].items()}
    seeds = len(found["vkd"])
    methods = Table(title=f"Test accuracy in %, {seeds} seeds")
    for column in ("method", "mean", "deviation"):
        methods.add_column(column)
    for name, title in NAMES.items():
        mean, deviation = mean_and_deviation(found[name])
        methods.add_row(title, f"{mean:.2f}", f"± {deviation:.2f}")
    differences = Table(title="VkD minus ..., paired by seed, 95 % interval")
    for column in ("rival", "difference", "interval"):
        differences.add_column(column)
    for name, title in list(NAMES.items())[:-1]:
        interval = paired_interval(found["vkd"], found[name])
        ends = f"[{interval.low:+.2f}, {interval.high:+.2f}]".replace("[", r"\[")
        differences.add_row(title, f"{interval.mean:+.2f}", ends)
    cells = grid_cells(results)
    if not cells:
        return [methods, differences]
    normalizations = list(dict.fromkeys(cell.split("-")[1] for cell in cells))
    grid = Table(title=f"Ablation: test accuracy in %, {GRID_SEEDS} seeds")
    for column in ("projection", *normalizations):
        grid.add_column(column)
    for projection in dict.fromkeys(cell.split("-")[0] for cell in cells):
        row = [cells[f"{projection}-{normalization}"] for normalization in normalizations]
        grid.add_row(projection, *(f"{mean:.2f} ± {deviation:.2f}" for mean, deviation in row))
    return [methods, differences, grid]


def grid_cells(results: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """Return mean and deviation of each ``projection-normalization``, on the grid's seeds."""
    found = results["methods"]
    if "mlp-identity" not in found:
        return {}
    return {
        cell: mean_and_deviation(found[SAME.get(cell, cell)]["accuracy"][:GRID_SEEDS])
        for cell in GRID
    }
