"""A page of sample pictures, as a network sees them."""

import base64
from html import escape
from io import BytesIO
from pathlib import Path
from string import Template

from PIL import Image

from vkd.data.description import DataDescription, SplitDescription
from vkd.training.checkpoint import write_whole

_PAGE = Path(__file__).parent / "samples.html"
_MOST_CLASSES = 30


def write_samples(description: DataDescription, title: str, file: Path) -> None:
    """Write what a data set holds, with its samples, as one HTML page that needs no other file."""
    notes = _notes(description.notes)
    parts = [_split(name, split, description.counted) for name, split in description.splits.items()]
    page = Template(_PAGE.read_text()).substitute(
        title=escape(title), body="\n".join([notes, *parts])
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, page)


def _split(name: str, split: SplitDescription, counted: str) -> str:
    figures = "\n".join(
        f'<figure><img alt="" src="data:image/png;base64,{_png(sample.picture)}">'
        f"<figcaption>{escape(sample.caption)}</figcaption></figure>"
        for sample in split.samples
    )
    most = sorted(split.counts.items(), key=lambda item: -item[1])[:_MOST_CLASSES]
    rows = "".join(f"<tr><td>{escape(key)}</td><td>{count:,}</td></tr>" for key, count in most)
    more = len(split.counts) - len(most)
    rest = f"<p>and {more:,} more</p>" if more else ""
    return (
        f"<h2>{escape(name)}: {split.pictures:,} pictures</h2>"
        f"<p>{escape(split.source)}</p>"
        f'<div class="samples">{figures}</div>'
        f"<details><summary>{escape(counted)} by name</summary>"
        f"<table>{rows}</table>{rest}</details>"
    )


def _notes(notes: list[str]) -> str:
    return "".join(f'<p class="notes">{escape(note)}</p>' for note in notes)


def _png(picture: Image.Image) -> str:
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
