"""Places of new files and folders, tried before work begins."""

import os
from pathlib import Path
from tempfile import TemporaryFile

from vkd.errors import FieldError, shortened

_LONGEST_NAME = 255  # bytes, where a file system does not say


def check_new_file(file: Path, field: str) -> None:
    """Raise ``FieldError`` about an argument unless a new file can be made at its place."""
    if problem := file_problem(file):
        raise FieldError(field, f": {problem}")


def file_problem(file: Path) -> str:
    """Return why no new file can be made at a place, as the rest of a sentence; empty if it can."""
    if problem := place_problem(file):
        return problem
    if os.path.lexists(file):
        return f"{shortened(file, 180)} exists already; name a new file."
    return ""


def check_place(place: Path, field: str) -> None:
    """Raise ``FieldError`` about an argument unless a file or folder can be made at its place, or
    is there."""
    if problem := place_problem(place):
        raise FieldError(field, f": {problem}")


def check_folder(folder: Path, field: str) -> None:
    """Raise ``FieldError`` about an argument unless a folder can be made there, or is there."""
    check_place(folder, field)
    if folder.exists() and not folder.is_dir():
        raise FieldError(field, f": {shortened(folder, 180)} is a file; name a new folder.")


def place_problem(place: Path) -> str:
    """Return why no file or folder can be made at a place, as the rest of a sentence; empty if one
    can, or is there already.

    The nearest folder above that is there is tried by a nameless file; nothing is left.
    """
    if not is_text(str(place)):
        return f"{shortened(ascii(str(place)), 150)} is no name in UTF-8."
    reason = _reason(place)
    return f"{shortened(place, 150)} cannot be made: {reason}." if reason else ""


def check_text(field: str, text: str) -> None:
    """Raise ``FieldError`` about an argument that no file in UTF-8 can hold."""
    if not is_text(text):
        raise FieldError(field, f"must be text in UTF-8, found {shortened(ascii(text), 150)}.")


def is_text(name: str) -> bool:
    """Return whether a name is text, which file systems and shells do not require of it."""
    return "\0" not in name and name == name.encode(errors="replace").decode()


def _reason(place: Path) -> str:
    if os.path.islink(place) and not os.path.exists(place):
        return "it is a link to a place that does not exist"
    if os.path.exists(place) and not os.path.isfile(place) and not os.path.isdir(place):
        # Such as /dev/stdout, which is written to as it is.
        return "" if os.access(place, os.W_OK) else "permission denied"
    folder = place if os.path.isdir(place) else place.parent
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    if not os.path.isdir(folder):
        return f"{shortened(folder, 80)} is no folder"
    longest = _longest_name(folder)
    if any(len(os.fsencode(part)) > longest for part in place.relative_to(folder).parts):
        return f"a name has more than {longest} bytes"
    try:
        with TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return (error.strerror or str(error)).lower()


def _longest_name(folder: Path) -> int:
    """The most bytes of a name below a folder, with what ends those of unfinished files."""
    try:
        most = os.pathconf(folder, "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):  # Windows has no such function
        most = _LONGEST_NAME
    return most - len(".partial")
