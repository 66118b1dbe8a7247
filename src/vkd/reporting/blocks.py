"""What a page is made of: sections of tables, drawings, pictures and text.

Texts are plain: the page escapes them.
"""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import ClassVar

from PIL import Image

# Of both sides in pixels, below which a picture is enlarged without smoothing.
_TINY = 64


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    kind: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True)
class Missing:
    """What is not there to be shown, and why."""

    kind: ClassVar[str] = "missing"
    text: str


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        caption: unique on its page.
        header: the names of the columns.
        rows: cells, the first of each naming its row.
        best: the number of the row that is marked as the best; -1 for none.
        text: a note below it.
    """

    kind: ClassVar[str] = "table"
    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    best: int = -1
    text: str = ""


@dataclass(frozen=True)
class Cell:
    """A count of a matrix, shaded from 0 to 5; ``is_diagonal`` for what is right."""

    text: str
    shade: int
    is_diagonal: bool


@dataclass(frozen=True)
class CountTable:
    """A square table of counts, whose rows and columns have the same names."""

    kind: ClassVar[str] = "counts"
    caption: str
    row: str
    column: str
    names: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    text: str = ""


@dataclass(frozen=True)
class Drawing:
    """A figure in SVG, made here.

    Attributes:
        svg: trusted markup.
        caption: below it.
        alt: what is seen on it, in words.
    """

    svg: str
    caption: str
    alt: str


@dataclass(frozen=True)
class Drawings:
    """Figures side by side."""

    kind: ClassVar[str] = "drawings"
    drawings: Sequence[Drawing]


@dataclass(frozen=True)
class Shown:
    """A picture as it is embedded."""

    source: str
    caption: str
    is_tiny: bool = False


@dataclass(frozen=True)
class Gallery:
    """Pictures with what is to be seen on them; ``is_wide`` for few large ones."""

    kind: ClassVar[str] = "gallery"
    pictures: Sequence[Shown]
    is_wide: bool = False
    text: str = ""


@dataclass(frozen=True)
class GalleryRows:
    """Rows of pictures, each a picture and others that belong to it."""

    kind: ClassVar[str] = "gallery-rows"
    first: str
    others: str
    rows: Sequence[Sequence[Shown]]
    text: str = ""


@dataclass(frozen=True)
class Folded:
    """A text of several lines that is folded away."""

    kind: ClassVar[str] = "folded"
    summary: str
    text: str


@dataclass(frozen=True)
class FoldedTable:
    """A table that is folded away."""

    kind: ClassVar[str] = "folded-table"
    summary: str
    table: Table


@dataclass(frozen=True)
class Heading:
    """A heading inside a section, such as the name of a run."""

    kind: ClassVar[str] = "heading"
    text: str


Block = (
    Text | Missing | Table | CountTable | Drawings | Gallery | GalleryRows | Folded | FoldedTable
    | Heading
)  # fmt: skip


@dataclass(frozen=True)
class Section:
    """A headed part of a page; one without blocks is left out."""

    title: str
    blocks: Sequence[Block] = field(default_factory=list)


def shown(image: Image.Image, caption: str) -> Shown:
    """Return a picture with what is to be seen on it."""
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return Shown(embedded(buffer.getvalue()), caption, max(image.size) <= _TINY)


def embedded(png: bytes) -> str:
    """Return the address that holds a PNG picture itself."""
    return f"data:image/png;base64,{b64encode(png).decode()}"
