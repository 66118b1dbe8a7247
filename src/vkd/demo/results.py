"""The grid of projections and normalisations, from the demonstration's results."""

from typing import Any

from rich.table import Table

from vkd.demo.methods import GRID, GRID_SEEDS, SAME
from vkd.reporting import blocks
from vkd.reporting.statistics import mean_and_deviation

_TITLE = f"Projection x normalisation: test accuracy in %, {GRID_SEEDS} seeds"


def grid_cells(results: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """Return mean and deviation of each ``projection-normalization``; empty if it was not run."""
    found = results["methods"]
    if "mlp-identity" not in found:
        return {}
    return {
        cell: mean_and_deviation(found[SAME.get(cell, cell)]["accuracy"][:GRID_SEEDS])
        for cell in GRID
    }


def grid_table(results: dict[str, Any]) -> Table | None:
    """Return the grid for the terminal; None if it was not run."""
    header, rows = _rows(results)
    if not rows:
        return None
    table = Table(title=_TITLE)
    for column in header:
        table.add_column(column)
    for row in rows:
        table.add_row(*row)
    return table


def grid_section(results: dict[str, Any]) -> blocks.Section:
    """Return the grid as a section of a page; without blocks if it was not run."""
    header, rows = _rows(results)
    title = "Projection and normalisation"
    return blocks.Section(title, [blocks.Table(_TITLE, header, rows)] if rows else [])


def _rows(results: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    cells = grid_cells(results)
    normalizations = list(dict.fromkeys(cell.split("-")[1] for cell in cells))
    rows = [
        [projection]
        + ["{:.2f} ± {:.2f}".format(*cells[f"{projection}-{name}"]) for name in normalizations]
        for projection in dict.fromkeys(cell.split("-")[0] for cell in cells)
    ]
    return ["projection", *normalizations], rows
