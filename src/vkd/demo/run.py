"""`vkd demo`: compares methods on digits and prints and writes what was found."""

from pathlib import Path
from typing import Any

from rich.console import Console

from vkd.comparison.compare import compare
from vkd.comparison.page import write_comparison_page
from vkd.comparison.results import write_results
from vkd.comparison.tables import tables
from vkd.demo.methods import GRID, GRID_SEEDS, METHODS, NAMES, SAME
from vkd.demo.results import grid_section, grid_table
from vkd.demo.start import begin

_DATASET = "scikit-learn digits: 718 training, 180 validation, 899 test images of 8x8"


def run_demo(folder: Path, seeds: int = 3, epochs: int = 0, grid: bool = False) -> dict[str, Any]:
    """Run the demonstration into a folder and return what ``results.json`` holds.

    Args:
        folder: for the runs, ``results.json`` and ``report.html``; new, or that of a
            demonstration that was interrupted, which is continued.
        seeds: students of each method, at least 2 (the grid takes 2).
        epochs: of students and teacher; 0 for the recipes' own.
        grid: also run projection x normalisation.

    Raises:
        UserError: if the folder holds something else or there are too few seeds.
    """
    short = begin(folder, seeds, epochs)
    methods = METHODS | ({name: GRID[name] for name in GRID if name not in SAME} if grid else {})
    console = Console()
    console.print(f"{len(methods)} methods on 718 digits, {seeds} seeds each, and their teacher.")
    results = compare(
        "digits",
        methods,
        folder,
        seeds={name: seeds if name in METHODS else GRID_SEEDS for name in methods},
        reference="vkd",
        network_changes=short,
        device="cpu",
        **short,
    )
    teacher = results["networks"]["teacher"]["accuracy"]
    results = {"dataset": _DATASET, "teacher": teacher} | results
    write_results(folder, results)
    _show(results, console)
    report = _write_report(folder, results)
    console.print(f"{results['seconds']:.0f} s. Report: {report}")
    return results


def of_table(results: dict[str, Any]) -> dict[str, Any]:
    """Return the results of the four methods of the table, without the grid."""
    methods = {name: found for name, found in results["methods"].items() if name in NAMES}
    return results | {"methods": methods}


def _show(results: dict[str, Any], console: Console) -> None:
    console.print(f"The teacher classifies {results['teacher']:.1f} % of 899 test digits.")
    for table in tables(of_table(results), NAMES):
        console.print(table)
    if grid := grid_table(results):
        console.print(grid)


def _write_report(folder: Path, results: dict[str, Any]) -> Path:
    seeds = len(results["methods"]["vkd"]["accuracy"])
    lead = (
        f"Tiny vision transformers learn {results['dataset']}; a CNN with "
        f"{results['teacher']:.1f} % test accuracy teaches them. {seeds} seeds a method, "
        f"{results['seconds']:.0f} s in all."
    )
    return write_comparison_page(
        folder,
        of_table(results),
        title="Orthogonal projections on digits",
        lead=lead,
        titles=NAMES,
        more=[grid_section(results)],
    )
