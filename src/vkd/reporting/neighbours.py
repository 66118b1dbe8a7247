"""Queries drawn with their nearest pictures: an HTML page that needs no other file, or a PNG."""

from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, ImageDraw, ImageFont

from vkd.data.pictures import open_picture
from vkd.errors import FieldError, UserError
from vkd.notes import say
from vkd.picture_files import save_png
from vkd.places import check_new_file
from vkd.reporting.blocks import GalleryRows, Section, Shown, shown
from vkd.reporting.page import write_page

SUFFIXES = (".html", ".png")
MOST_QUERIES = 100  # that are drawn
_SIDE = 160  # of a drawn picture, in pixels
_GAP, _LINE = 12, 20
_INK, _FRAME = "#1c2430", "#0072b2"


class Drawn(NamedTuple):
    """A picture of at most ``_SIDE`` pixels a side, or what stands for it, with its words."""

    image: Image.Image
    words: str
    name: str


def check_target(file: Path) -> None:
    """Raise ``FieldError`` if a drawing cannot be a new file of this name."""
    if file.suffix not in SUFFIXES:
        raise FieldError("output", f"must end in {' or '.join(SUFFIXES)}, found {file}.")
    check_new_file(file, "output")


def write_neighbours(
    records: Iterable[Mapping[str, Any]],
    title: str,
    file: Path,
    may_open: Callable[[str], bool] = lambda image: True,
) -> None:
    """Draw what a search found into a new file.

    Pictures that cannot or may not be opened are shown by name, and their number is said.

    Args:
        records: as ``vkd.search`` returns them; those with an ``error`` are left out.
        title: of the page.
        file: ``.html`` or ``.png``.
        may_open: whether an ``image`` of the index may be opened.
    """
    found: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        if "error" not in record:
            found.setdefault(record["query"], []).append(record)
    lead = "Beside each query the nearest pictures of the index, with the cosine of embeddings."
    if len(found) > MOST_QUERIES:
        cut = f"the first {MOST_QUERIES} of {len(found):,} queries"
        say(file, [f"draws {cut}"])
        lead += f" These are {cut}."
    rows = _rows(dict(list(found.items())[:MOST_QUERIES]), file, may_open)
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".html":
        pictures = [[_shown(drawn) for drawn in row] for row in rows]
        write_page(
            file, title, lead, [Section("Queries", [GalleryRows("Query", "Nearest", pictures)])]
        )
        return
    save_png(_sheet(rows), file)


def _rows(
    found: Mapping[str, Sequence[Mapping[str, Any]]], file: Path, may_open: Callable[[str], bool]
) -> list[list[Drawn]]:
    """A row for each query: itself, and its neighbours."""
    near = dict.fromkeys(one["image"] for each in found.values() for one in each)
    barred = [name for name in near if name not in found and not may_open(name)]
    pictures = dict.fromkeys(barred)
    pictures |= {name: _small(name) for name in (*found, *near) if name not in pictures}
    missing = [name for name, picture in pictures.items() if picture is None]
    _say_missing(file, [name for name in missing if name not in barred], "that cannot be opened")
    _say_missing(
        file, barred, "that are not opened, as they lie outside of the folders of the index"
    )

    def drawn(name: str, words: str) -> Drawn:
        picture = pictures[name]
        if picture is None:
            reason = "is not opened" if name in barred else "cannot be opened"
            return Drawn(_placeholder(reason), f"{words}, which {reason}", name)
        return Drawn(picture, words, name)

    return [
        [
            drawn(query, "query"),
            *(drawn(each["image"], f"{each['rank']}: {each['similarity']:.3f}") for each in near),
        ]
        for query, near in found.items()
    ]


def _say_missing(file: Path, names: Sequence[str], what: str) -> None:
    if names:
        more = ", ..." if len(names) > 1 else ""
        say(file, [f"pictures {what}: {len(names)} ({names[0]}{more})"])


def _small(name: str) -> Image.Image | None:
    """A picture; None where it cannot be opened."""
    try:
        picture = open_picture(Path(name))
    except UserError:
        return None
    picture.thumbnail((_SIDE, _SIDE))
    return picture


def _placeholder(reason: str) -> Image.Image:
    image = Image.new("RGB", (_SIDE, _SIDE), "#eef0f3")
    ImageDraw.Draw(image).text((24, 72), reason, fill=_INK)
    return image


def _shown(drawn: Drawn) -> Shown:
    caption = f"{drawn.words}, {drawn.name}"
    tiny = shown(drawn.image, caption)
    if tiny.is_tiny:
        return tiny
    buffer = BytesIO()
    drawn.image.save(buffer, "JPEG")  # a photograph is a tenth of what it is in PNG
    return Shown(f"data:image/jpeg;base64,{b64encode(buffer.getvalue()).decode()}", caption)


def _sheet(rows: Sequence[Sequence[Drawn]]) -> Image.Image:
    """All queries, a row each: the query in a blue frame, and its neighbours with cosines."""
    columns = max((len(row) for row in rows), default=1)
    step, height = _SIDE + _GAP, _SIDE + _LINE + _GAP
    sheet = Image.new("RGB", (columns * step + _GAP, len(rows) * height + _GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for line, row in enumerate(rows):
        for column, drawn in enumerate(row):
            left, top = _GAP + column * step, _GAP + line * height
            scaled = _scaled(drawn.image)
            inset = [(_SIDE - side) // 2 for side in scaled.size]
            sheet.paste(scaled, (left + inset[0], top + inset[1]))
            if column == 0:
                edge = (left - 3, top - 3, left + _SIDE + 2, top + _SIDE + 2)
                draw.rectangle(edge, outline=_FRAME, width=3)
            text = _cut(f"{drawn.words}  {Path(drawn.name).name}", font)
            draw.text((left, top + _SIDE + 3), text, fill=_INK, font=font)
    return sheet


def _scaled(picture: Image.Image) -> Image.Image:
    """A picture whose longer side is ``_SIDE``; one that is smaller in squares."""
    factor = _SIDE / max(picture.size)
    width, height = (max(1, round(side * factor)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.NEAREST)


def _cut(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """A caption that is no wider than a picture."""
    while len(text) > 1 and font.getlength(text) > _SIDE:
        text = text.removesuffix("…")[:-1] + "…"
    return text
