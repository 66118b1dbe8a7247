"""What tasks found, as sections in which runs are compared."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from vkd.errors import shortened
from vkd.reporting.blocks import (
    Block,
    Cell,
    CountTable,
    Drawings,
    Gallery,
    GalleryRows,
    Heading,
    Missing,
    Section,
    Shown,
    Table,
    Text,
    shown,
)
from vkd.reporting.plots import Look, line_chart
from vkd.training import findings
from vkd.training.findings import Finding, Picture
from vkd.training.findings_files import read_findings

_LONGEST_NAME = 32
_SHADES = 5


def finding_sections(runs: Mapping[str, Path], chosen: Mapping[str, Look]) -> list[Section]:
    """Return a section for each title of what the runs' tasks found."""
    recorded = {name: read_findings(run) for name, run in runs.items()}
    titles = dict.fromkeys(found.title for own in recorded.values() for found in own or ())
    sections = []
    for title in titles:
        by_run = {
            name: next((found for found in own or () if found.title == title), None)
            for name, own in recorded.items()
        }
        sections.append(Section(title, _compared(by_run, chosen)))
    without = [name for name, own in recorded.items() if own is None]
    if without and not titles:
        text = "Not recorded by {}: it ended early, or is of an earlier version."
        sections.append(Section("What the model does", [Missing(text.format(n)) for n in without]))
    return sections


def _compared(by_run: Mapping[str, Finding | None], chosen: Mapping[str, Look]) -> list[Block]:
    lines = {n: found for n, found in by_run.items() if isinstance(found, findings.Lines)}
    blocks: list[Block] = []
    if lines:
        blocks.append(_lines(lines, chosen))
    for name, found in by_run.items():
        if found is None:
            blocks.append(Missing(f"Not recorded by {name}."))
        elif isinstance(found, findings.Absent):
            blocks.append(Missing(f"{name}: {found.text}"))
        elif name in lines:
            blocks.append(Text(f"{name}: {found.text}"))
        else:
            blocks += [Heading(name)] * (len(by_run) > 1)
            blocks.append(_block(name, found))
    return blocks


def _lines(by_run: Mapping[str, findings.Lines], chosen: Mapping[str, Look]) -> Drawings:
    """A figure of all lines of a single run, or one for each line, which compares runs."""
    first = next(iter(by_run.values()))
    if len(by_run) == 1:
        lines = {name: [line] for name, line in first.series.items()}
        limits = (0, None)
        return Drawings([line_chart(lines, first.x, first.y, f"{first.title}.", limits=limits)])
    names = dict.fromkeys(name for found in by_run.values() for name in found.series)
    return Drawings([
        line_chart(
            {run: [found.series[name]] for run, found in by_run.items() if name in found.series},
            first.x, first.y, f"{first.title}: {name}.", chosen, limits=(0, None),
        )
        for name in names
    ])  # fmt: skip


def _block(run: str, found: Finding) -> Block:
    match found:
        case findings.Table():
            caption = f"{found.title} of {run}"
            return Table(caption, found.header, found.rows, text=found.text)
        case findings.Matrix():
            return _counts(run, found)
        case findings.Pictures():
            pictures = [_shown(picture) for picture in found.pictures]
            return Gallery(pictures, text=found.text)
        case findings.PictureRows():
            return picture_rows(found.first, found.others, found.rows, found.text)
        case _:
            return Text(found.text)


def picture_rows(
    first: str, others: str, rows: Sequence[Sequence[Picture]], text: str = ""
) -> GalleryRows:
    """Return rows of pictures, such as queries with their nearest neighbours.

    Args:
        first: what the first picture of each row is.
        others: what the others are.
        rows: the pictures of each row, with what is to be seen on them in words.
        text: what is shown, of how many.
    """
    return GalleryRows(first, others, [[_shown(picture) for picture in row] for row in rows], text)


def _shown(picture: Picture) -> Shown:
    return shown(picture.image, picture.caption)


def _counts(run: str, found: findings.Matrix) -> CountTable:
    rows = []
    for place, counts in enumerate(found.counts):
        total = max(1, sum(counts))
        # Rounded up, so that a single mistake is seen.
        rows.append([
            Cell(f"{count:,}", -(-_SHADES * count // total), place == other)
            for other, count in enumerate(counts)
        ])  # fmt: skip
    names = [shortened(name, _LONGEST_NAME) for name in found.names]
    caption = f"{found.title} of {run}"
    return CountTable(caption, found.row, found.column, names, rows, found.text)
