"""A page of what a data set holds, with sample pictures as a network sees them."""

from pathlib import Path

from vkd.data.description import DataDescription, SplitDescription
from vkd.reporting.blocks import Block, FoldedTable, Gallery, Section, Table, Text, shown
from vkd.reporting.page import write_page

_MOST_CLASSES = 30


def write_samples(description: DataDescription, title: str, file: Path) -> None:
    """Write what a data set holds, with its samples, as one HTML page that needs no other file."""
    sections = [Section("Notes", [Text(note) for note in description.notes])]
    sections += [
        _split(name, split, description.counted) for name, split in description.splits.items()
    ]
    write_page(file, title, "What training would read, as a network sees it.", sections)


def _split(name: str, split: SplitDescription, counted: str) -> Section:
    most = sorted(split.counts.items(), key=lambda item: -item[1])[:_MOST_CLASSES]
    more = len(split.counts) - len(most)
    rows = [[key, f"{count:,}"] for key, count in most]
    table = Table(
        f"{counted} by name: {name}",
        ["name", counted],
        rows,
        text=f"and {more:,} more" if more else "",
    )
    pictures = [shown(sample.picture, sample.caption) for sample in split.samples]
    text = f"{len(pictures)} of {split.pictures:,} pictures, evenly spread."
    blocks: list[Block] = [Text(split.source)]
    is_wide = not all(picture.is_tiny for picture in pictures)
    blocks += [Gallery(pictures, is_wide, text)] if pictures else []
    blocks += [FoldedTable(f"{counted} by name", table)] if rows else []
    return Section(f"{name}: {split.pictures:,} pictures", blocks)
