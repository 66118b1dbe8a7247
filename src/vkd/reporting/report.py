"""One self-contained HTML page from run folders."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vkd.errors import FieldError, UserError
from vkd.files import read_text
from vkd.places import check_place, is_text
from vkd.reporting.blocks import Block, Section, Table, Text
from vkd.reporting.curves import epoch_section, step_section
from vkd.reporting.findings import finding_sections
from vkd.reporting.grids import sample_section
from vkd.reporting.page import details, write_page
from vkd.reporting.plots import looks
from vkd.reporting.projections import projection_section, projections, similarity_section
from vkd.reporting.speed import speed_section
from vkd.training.findings_files import read_findings
from vkd.training.records import read_metrics, read_notes, read_records
from vkd.training.similarities import AFTER, BEFORE, read_similarities


def write_report(folders: Sequence[Path], output: Path) -> Path:
    """Write the report of one or more run folders and return its path.

    It is made of the run folders alone. What a run has not recorded is said.

    Raises:
        UserError: if a folder holds no run, or a damaged one, or ``output`` is a folder.
    """
    if output.is_dir():
        raise FieldError("output", f"{output} is a folder; name a file.")
    check_place(output, "output")
    runs = _named(folders)
    histories = {name: [read_metrics(folder)] for name, folder in runs.items()}
    for name, (history,) in histories.items():
        if not history:
            raise UserError(f"{runs[name]} has no finished epoch to report.")
    for folder in runs.values():
        _check(folder)
    chosen = looks(runs)
    recipes = {name: read_text(folder / "recipe.yaml") for name, folder in runs.items()}
    sections = [
        Section("Results on the validation split", [_results(histories), *_notes(runs)]),
        epoch_section(histories, chosen),
        step_section(runs, chosen),
        similarity_section(runs),
        projection_section(runs, chosen),
        *finding_sections(runs, chosen),
        sample_section(runs),
        speed_section(runs),
        details(recipes),
    ]
    names = ", ".join(runs)
    title = f"Run {names}" if len(runs) == 1 else f"{len(runs)} runs side by side"
    lead = "A training by vkd." if len(runs) == 1 else f"Trainings by vkd: {names}."
    return write_page(output, title, lead, sections)


def _check(run: Path) -> None:
    """Read what is drawn later, as drawing takes seconds; raise ``UserError`` if it is damaged."""
    if (steps := run / "steps.jsonl").is_file():
        read_records(steps, "update")
    read_findings(run)
    for stage in (BEFORE, AFTER):
        read_similarities(run, stage)
    projections({"": run})
    sample_section({"": run})
    speed_section({"": run})
    read_text(run / "recipe.yaml")


def _results(histories: Mapping[str, Sequence[Sequence[dict[str, Any]]]]) -> Table:
    """The last metrics of each run, runs side by side."""
    last: dict[str, dict[str, float]] = {
        name: next((r["validation"] for r in reversed(history) if "validation" in r), {})
        for name, (history,) in histories.items()
    }
    metrics = dict.fromkeys(metric for found in last.values() for metric in found)
    rows = [
        [metric, *(f"{own[metric]:.4g}" if metric in own else "–" for own in last.values())]
        for metric in metrics
    ]
    skipped = [_skipped(history) for (history,) in histories.values()]
    if any(skipped):
        rows.append(["updates left out", *(f"{count:,}" for count in skipped)])
    epochs = [str(history[-1]["epoch"]) for (history,) in histories.values()]
    seconds = [sum(record["seconds"] for record in history) for (history,) in histories.values()]
    rows += [["epochs", *epochs], ["training time, s", *(f"{value:,.0f}" for value in seconds)]]
    return Table("Last metrics on the validation split", ["metric", *histories], rows)


def _notes(runs: Mapping[str, Path]) -> list[Block]:
    """What went wrong and was mended while training."""
    notes = {name: " ".join(" ".join(read_notes(run)).split()) for name, run in runs.items()}
    return [Text(f"{name}: {text}") for name, text in notes.items() if text]


def _named(folders: Sequence[Path]) -> dict[str, Path]:
    names = [folder.name for folder in folders]
    return {
        _shown(folder.name if names.count(folder.name) == 1 else str(folder)): folder
        for folder in folders
    }


def _shown(name: str) -> str:
    return name if is_text(name) else ascii(name)[1:-1]


def _skipped(history: Sequence[dict[str, Any]]) -> int:
    counts = (record.get("skipped") for record in history)
    return sum(count for count in counts if isinstance(count, int))
