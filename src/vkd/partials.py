"""Folders that are written to before what is in them takes its name.

A killed process leaves its own behind. No reader takes them, as their names end in ``.partial``,
and the next writer removes them.
"""

import ctypes
import hashlib
import os
import re
import shutil
import sys
from contextlib import suppress
from itertools import count
from pathlib import Path

PARTIAL = ".partial"
# Of a name, so that it stays below the 255 that file systems take with what is added to it.
_MOST_BYTES = 200
# Of Linux's renameat2: paths from the current folder, and names that trade places.
_HERE, _EXCHANGE = -100, 2
_numbers = count()


def new_partial(target: Path) -> Path:
    """Make a folder beside ``target`` for this process alone; remove what dead ones left of it."""
    stem = _stem(target.name)
    _remove_left(target.parent, stem)
    while True:
        partial = target.with_name(f"{stem}.{os.getpid()}-{next(_numbers)}{PARTIAL}")
        try:
            partial.mkdir()
        except FileExistsError:  # of a process of this number on another machine
            continue
        return partial


def remove_leftovers(folder: Path, name: str = r".+\.\d+-\d+") -> None:
    """Remove the partial folders directly in a folder that no other process writes to.

    Args:
        folder: one of ours.
        name: expression of their names before ``.partial``; by default those of ``new_partial``,
            as the user may have others.
    """
    left = re.compile(name + re.escape(PARTIAL), re.ASCII)
    if folder.is_dir():
        for entry in os.scandir(folder):
            if left.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry, ignore_errors=True)


def exchanged(one: Path, other: Path) -> bool:
    """Let two names trade places in one step; return whether the system could."""
    if sys.platform != "linux":
        return False
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):  # a C library without it
        return False
    return rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0


def _stem(name: str) -> str:
    """A name, or as much of a long one as leaves room, with its digest."""
    written = os.fsencode(name)
    if len(written) <= _MOST_BYTES:
        return name
    digest = hashlib.sha256(written).hexdigest()[:8]
    return f"{written[: _MOST_BYTES - 9].decode(errors='ignore')}-{digest}"


def _remove_left(folder: Path, stem: str) -> None:
    own = re.compile(rf"{re.escape(stem)}\.(\d+)-\d+{re.escape(PARTIAL)}", re.ASCII)
    for entry in os.scandir(folder):
        found = own.fullmatch(entry.name)
        if found is None:
            continue
        with suppress(FileNotFoundError):  # of another writer, who has just finished
            if _is_dead(int(found[1]), entry.stat(follow_symlinks=False).st_mtime):
                shutil.rmtree(entry, ignore_errors=True)


def _is_dead(process: int, written: float) -> bool:
    """Whether a process has ended that wrote something at a time, whoever has its number now."""
    import psutil  # here, as there is seldom anything left

    try:
        return psutil.Process(process).create_time() > written
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:
        return False
