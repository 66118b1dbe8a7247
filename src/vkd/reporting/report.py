"""One self-contained HTML page from run folders."""

from pathlib import Path

from vkd.reporting.page import (
    curves,
    details,
    figures,
    projection_figure,
    projection_table,
    projections,
    samples,
    section,
    table,
    write_page,
)
from vkd.reporting.plots import palette
from vkd.training.checkpoint import read_metrics


def write_report(folders: list[Path], output: Path) -> Path:
    """Write the report of one or more run folders and return its path.

    Raises:
        UserError: if a folder holds no run.
    """
    named = _named(folders)
    histories = {name: [read_metrics(folder)] for name, folder in named.items()}
    rows = []
    for name, (history,) in histories.items():
        evaluated = [record["validation"] for record in history if "validation" in record]
        metrics = " · ".join(f"{key} {value:.4g}" for key, value in (evaluated or [{}])[-1].items())
        seconds = sum(record["seconds"] for record in history)
        rows.append([name, str(history[-1]["epoch"]), metrics, f"{seconds:.0f} s"])
    weights = projections(named)
    body = [
        section("Results on the validation split",
                 table(["run", "epochs", "metrics", "training time"], rows)),
        figures(curves(histories) + projection_figure(weights, palette(histories))),
        samples(named),
        projection_table(weights),
        details({name: (folder / "recipe.yaml").read_text() for name, folder in named.items()}),
    ]  # fmt: skip
    return write_page(output, "VkD run report", f"{len(folders)} run(s).", body)


def _named(folders: list[Path]) -> dict[str, Path]:
    names = [folder.name for folder in folders]
    return {
        folder.name if names.count(folder.name) == 1 else str(folder): folder for folder in folders
    }
