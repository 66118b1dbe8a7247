"""`vkd demo embedding`: compares methods of embedding on digits, by all measures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from vkd.comparison.compare import compare
from vkd.comparison.page import write_comparison_page
from vkd.comparison.results import write_results
from vkd.comparison.tables import tables
from vkd.demo.start import begin
from vkd.reporting import blocks
from vkd.reporting.statistics import mean_and_deviation

# Changes of the recipe `digits-embedding`; the optimiser cancels the weight of an only loss.
METHODS: dict[str, dict[str, Any]] = {
    "vkd": {},
    "linear": {"method": "linear", "normalization": "identity"},
    "mlp": {"method": "mlp", "normalization": "identity"},
    "none": {"method": "none"},
}
NAMES = {
    "vkd": "VkD: orthogonal, layer norm",
    "linear": "linear projection, raw features",
    "mlp": "MLP, raw features",
    "none": "untrained",
}
SHORT = {"vkd": "VkD", "linear": "linear", "mlp": "MLP", "none": "untrained"}
TEACHER = "teacher"
# Of each measure its heading, and how it is found among the teacher's.
MEASURES = {
    "knn": "kNN %",
    "linear_probe": "linear probe %",
    "recall_1": "recall@1 %",
    "recall_5": "recall@5 %",
    "recall_10": "recall@10 %",
    "cka": "CKA",
    "cosine_correlation": "cosines",
    "mixed_recall_1": "mixed@1 %",
    "folded_recall_1": "folded@1 %",
}
_DATASET = "scikit-learn digits: 718 training pictures without labels, 899 test pictures"
_EXPLAINED = (
    "recall@k: a picture of the same digit is among the k nearest. CKA and the correlation of "
    "pairwise cosines compare with the teacher. mixed@1: the teacher's index, searched with "
    "projected embeddings; folded@1: the same index, folded to the student's width by an "
    "orthogonal projection's transpose."
)


def run_embedding_demo(folder: Path, seeds: int = 3, epochs: int = 0) -> dict[str, Any]:
    """Run the demonstration into a folder and return what ``results.json`` holds.

    Args:
        folder: for the runs, ``results.json`` and ``report.html``; new, or that of a
            demonstration that was interrupted, which is continued.
        seeds: students of each method, at least 2.
        epochs: of students and teacher; 0 for the recipes' own.

    Raises:
        UserError: if the folder holds something else or there are too few seeds.
    """
    short = begin(folder, seeds, epochs)
    console = Console()
    console.print(
        f"{len(METHODS)} methods on 718 digits without labels, {seeds} seeds each, and their "
        "teacher."
    )
    results = compare(
        "digits-embedding",
        METHODS,
        folder,
        seeds=seeds,
        reference="vkd",
        network_changes=short,
        device="cpu",
        **short,
    )
    results = {"dataset": _DATASET, "teacher": teacher_values(results)} | results
    write_results(folder, results)
    console.print(measures_table(results))
    for table in tables(results, NAMES)[1:]:
        console.print(table)
    report = _write_report(folder, results)
    console.print(f"{results['seconds']:.0f} s. Report: {report}")
    return results


def teacher_values(results: dict[str, Any]) -> dict[str, float]:
    """Return the teacher's own measures, as every student's evaluation has them."""
    found = results["methods"]["vkd"]
    return {
        name: found[f"{TEACHER}_{name}"][0] for name in MEASURES if f"{TEACHER}_{name}" in found
    }


def measure_rows(results: dict[str, Any], titles: Mapping[str, str]) -> list[list[str]]:
    """Return a row of all measures for each method, by its title, and for the teacher."""
    own = results["teacher"]
    rows = [
        [titles[name], *(_shown(found.get(measure, [])) for measure in MEASURES)]
        for name, found in results["methods"].items()
    ]
    return [*rows, ["teacher", *(_shown([own[m]] if m in own else []) for m in MEASURES)]]


def _shown(values: list[float]) -> str:
    if not values:
        return "-"
    mean, deviation = mean_and_deviation(values)
    # Similarity is at most 1; the rest is in %.
    digits = 2 if abs(mean) <= 1 else 1
    spread = f" ± {deviation:.{digits}f}" if len(values) > 1 else ""
    return f"{mean:.{digits}f}{spread}"


def measures_table(results: dict[str, Any]) -> Table:
    """Return the measures for the terminal, a column for each method, as these are fewer."""
    table = Table(title="Test split", caption=_EXPLAINED)
    header, *columns = [["measure", *MEASURES.values()], *measure_rows(results, SHORT)]
    table.add_column(header[0])
    for column in columns:
        table.add_column(column[0])
    for row in zip(header[1:], *(column[1:] for column in columns), strict=True):
        table.add_row(*row)
    return table


def _write_report(folder: Path, results: dict[str, Any]) -> Path:
    seeds = len(results["methods"]["vkd"]["knn"])
    lead = (
        f"Tiny vision transformers learn the features of a CNN from {results['dataset']}, whose "
        f"labels only measure. The CNN's own features give {results['teacher']['knn']:.1f} % by "
        f"nearest neighbours. {seeds} seeds a method, {results['seconds']:.0f} s in all."
    )
    header = ["method", *MEASURES.values()]
    measures = blocks.Table(
        "All measures, on the test split", header, measure_rows(results, NAMES), text=_EXPLAINED
    )
    return write_comparison_page(
        folder,
        results,
        title="Embeddings of digits without labels",
        lead=lead,
        titles=NAMES,
        more=[blocks.Section("All measures", [measures])],
    )
