"""A folder that one process alone writes to, by a lock that goes with the process."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from vkd.errors import FieldError
from vkd.notes import say
from vkd.partials import PARTIAL, remove_leftovers
from vkd.places import check_text

LOCK = ".lock"
# What file systems answer that know no locks, or have none left.
_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK}


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from a folder of results while this one writes to it.

    The folder is made if there is none, and removed again if nothing is written. What killed
    processes have left half-written in it is removed. The lock is the system's, which a process
    that is killed loses. Its file stays, empty, where something was written beside it. Where a
    file system knows no locks, that is said.

    Raises:
        FieldError: if another process holds the folder, or it cannot be made.
        OSError: if it cannot be written to.
    """
    made = _make(folder)
    try:
        with _held(folder):
            for place in (folder, folder / "samples"):
                remove_leftovers(place)
            remove_leftovers(folder / "checkpoints", r"epoch-.+")
            yield
    finally:
        with suppress(OSError):  # of the first that holds something
            for place in made:
                place.rmdir()


def is_new(folder: Path) -> bool:
    """Return whether there is nothing in a folder but its lock, and what killed processes left."""
    names = (entry.name for entry in folder.iterdir())
    return all(name == LOCK or name.endswith(PARTIAL) for name in names)


def _make(folder: Path) -> list[Path]:
    """Make a folder; return it and those above that were made for it, the innermost first."""
    check_text("output", str(folder))
    try:
        if folder.is_symlink() and not folder.exists():
            raise FieldError("output", f"{folder} is a link to a place that does not exist.")
        if folder.is_file():
            raise FieldError("output", f"{folder} exists and is no folder; name a new one.")
        made = [place for place in (folder, *folder.parents) if not place.exists()]
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FieldError("output", f"{folder} cannot be made: {error.strerror}.") from None
    return made


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """The lock of a folder, as far as its file system has any."""
    file = folder / LOCK
    before = None if file.exists() else set(os.listdir(folder))
    lock = FileLock(file, timeout=0, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        raise FieldError(
            "output",
            f"{folder} is being written to by {_holder(file)}; wait until it ends, or name another "
            "folder.",
        ) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        note = "its file system knows no locks, so nothing keeps another run from writing to it"
        say(folder, [note])
    else:
        with suppress(OSError):  # of a full disk, which is of no harm yet
            file.write_text(f"{os.getpid()}\n")
    try:
        yield
    finally:
        with suppress(OSError):
            os.truncate(file, 0)
            if is_new(folder) or set(os.listdir(folder)) - {LOCK} == before:
                file.unlink()
        lock.release()


def _holder(file: Path) -> str:
    try:
        return f"process {int(file.read_text())}"
    except (OSError, ValueError):  # on Windows it cannot be read; it may have been taken just now
        return "another process"
