"""The XML files of Pascal VOC's format, one for each picture."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import parse

from vkd.errors import UserError

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_LARGEST_FILE = 50_000_000


@dataclass(frozen=True)
class VocObject:
    """An object: its class, its corners (left, top, right, bottom) as they are written, and
    whether it is difficult, which is neither learned from nor scored."""

    name: str
    corners: tuple[float, float, float, float]
    is_difficult: bool


@dataclass(frozen=True)
class VocFile:
    """What an XML file says.

    Attributes:
        path: the file.
        picture: the name that it gives its picture; empty for none.
        size: the width and height that it claims, as they are written; empty for none.
        objects: in the order of the file.
    """

    path: Path
    picture: str
    size: dict[str, str]
    objects: list[VocObject]


def read_voc_file(path: Path) -> VocFile:
    """Return what an XML file says.

    Raises:
        UserError: if it is no annotation of a picture, naming the object.
    """
    root = _root(path)
    size = {name: _text(root, f"size/{name}") for name in ("width", "height")}
    # Label tools write 0 for what they did not look at.
    size = {name: text for name, text in size.items() if text not in ("", "0")}
    found = [_object(node, path, n) for n, node in enumerate(root.findall("object"), 1)]
    return VocFile(path, _text(root, "filename"), size, found)


def counted_from(files: Iterable[VocFile]) -> tuple[int, str]:
    """Return what the pixels of a data set are counted from, and a note where this is a guess.

    VOC counts from 1 and its corners belong to the box. Where a corner is below 1 or no whole
    number this cannot be, so pixels are counted from 0 and the right and lower edge lie beyond.
    """
    for file in files:
        for place, found in enumerate(file.objects, 1):
            if min(found.corners) < 1 or any(value % 1 for value in found.corners):
                corners = ", ".join(f"{value:g}" for value in found.corners)
                return 0, (
                    f"corners are taken as counted from 0, not from 1 as in VOC, since object "
                    f"{place} of {file.path.name} has {corners}"
                )
    return 1, ""


def _root(path: Path) -> Element:
    if not path.is_file():
        raise UserError(f"{path} cannot be read: it is no file.")
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise UserError(f"{path} is too large for the annotations of a picture.")
        root = parse(path).getroot()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None
    except DefusedXmlException:
        raise UserError(f"{path} defines entities, which annotations have no use for.") from None
    except (ParseError, ValueError, LookupError, RecursionError) as error:
        raise UserError(f"{path} is not valid XML: {str(error)[:100]}.") from None
    if root is None or root.tag != "annotation":
        tag = "nothing" if root is None else root.tag[:40]
        raise UserError(f"{path} has {tag} where <annotation> is expected.")
    return root


def _text(node: Element, path: str) -> str:
    return (node.findtext(path) or "").strip()


def _object(node: Element, path: Path, number: int) -> VocObject:
    name = _text(node, "name")
    if not name:
        raise UserError(f"{path}: object {number} has no <name>.")
    corners = []
    for side in _CORNERS:
        text = _text(node, f"bndbox/{side}")
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise UserError(
                f"{path}: object {number} ({name[:40]}) has the {side} {text[:30]!r}; expected "
                "<bndbox> with xmin, ymin, xmax and ymax in pixels."
            )
        corners.append(value)
    left, top, right, bottom = corners
    is_difficult = _text(node, "difficult").lower() in ("1", "true", "yes")
    return VocObject(name, (left, top, right, bottom), is_difficult)
