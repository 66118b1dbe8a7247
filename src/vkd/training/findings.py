"""What a task finds of its model for the report: small data, kept in the run folder.

Each kind says what is seen, not how it is drawn, so that a page can be made of a run folder alone,
without the data and the networks.
"""

from dataclasses import dataclass

from PIL import Image


@dataclass(frozen=True)
class Picture:
    """A picture with what is to be seen on it, in words."""

    image: Image.Image
    caption: str


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A finding, which runs that are compared share by its title.

    Attributes:
        title: a heading.
        text: what it shows, of how many of how many.
    """

    title: str
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class Absent(Finding):
    """Something that this run could not record; ``text`` says why."""


@dataclass(frozen=True, kw_only=True)
class Table(Finding):
    """Rows of cells, the first of each naming its row."""

    header: list[str]
    rows: list[list[str]]


@dataclass(frozen=True, kw_only=True)
class Matrix(Finding):
    """Counts by row and column.

    Attributes:
        row, column: what rows and columns are.
        names: of both.
        counts: rows of counts.
    """

    row: str
    column: str
    names: list[str]
    counts: list[list[int]]


@dataclass(frozen=True, kw_only=True)
class Lines(Finding):
    """Lines over a common axis.

    Attributes:
        x, y: labels of the axes.
        series: x and y of the points of each line, by name.
    """

    x: str
    y: str
    series: dict[str, tuple[list[float], list[float]]]


@dataclass(frozen=True, kw_only=True)
class Pictures(Finding):
    """Pictures, the most telling first."""

    pictures: list[Picture]


@dataclass(frozen=True, kw_only=True)
class PictureRows(Finding):
    """Pictures with others beside each, such as the nearest neighbours of a query.

    Attributes:
        first: what the first picture of a row is.
        others: what the others are.
        rows: the pictures of each row.
    """

    first: str
    others: str
    rows: list[list[Picture]]
