"""One self-contained HTML page from run folders."""

from pathlib import Path

from vkd.errors import FieldError, UserError
from vkd.files import read_text
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
from vkd.training.checkpoint import is_text, read_metrics


def write_report(folders: list[Path], output: Path) -> Path:
    """Write the report of one or more run folders and return its path.

    Raises:
        UserError: if a folder holds no run, or a damaged one, or ``output`` is a folder.
    """
    if output.is_dir():
        raise FieldError("output", f"{output} is a folder; name a file.")
    named = _named(folders)
    histories = {name: [read_metrics(folder)] for name, folder in named.items()}
    rows = []
    for name, (history,) in histories.items():
        if not history:
            raise UserError(f"{named[name]} has no finished epoch to report.")
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
        details({name: read_text(folder / "recipe.yaml") for name, folder in named.items()}),
    ]  # fmt: skip
    return write_page(output, "VkD run report", f"{len(folders)} run(s).", body)


def _named(folders: list[Path]) -> dict[str, Path]:
    names = [folder.name for folder in folders]
    return {
        _shown(folder.name if names.count(folder.name) == 1 else str(folder)): folder
        for folder in folders
    }


def _shown(name: str) -> str:
    return name if is_text(name) else ascii(name)[1:-1]
