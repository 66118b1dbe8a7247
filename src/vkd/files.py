"""Reading files that users or runs have made, and writing files that are whole or not there."""

import errno
import json
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from vkd.errors import UserError
from vkd.partials import PARTIAL as PARTIAL
from vkd.partials import exchanged, new_partial

# What file systems answer that cannot wait for the disk.
_CANNOT_WAIT = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP}


def read_text(file: Path) -> str:
    """Return the text of a file in UTF-8, without a mark of byte order.

    Raises:
        UserError: if it is not there, no file, such as a pipe, which would wait for ever, or no
            text.
    """
    if file.exists() and not file.is_file():
        raise UserError(f"{file} cannot be read: it is no file.")
    try:
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is no text in UTF-8: {str(error)[:80]}.") from None


@contextmanager
def whole_file(file: Path) -> Iterator[Path]:
    """Yield a place to write a file to, which takes its name when all is on the disk.

    A reader finds the file whole, or the one before it, or none, even after a power cut, however
    many processes write it at once. A link stays one, and what is no file, such as /dev/stdout, is
    written to as it is. A new file has the permissions of the user's umask, whatever its writer
    sets, and one that is replaced keeps its own.

    Args:
        file: its folder is there. The place has its name, in a folder beside it whose name ends in
            ``.partial``.

    Raises:
        OSError: if it cannot be written; then the one before it stays, and nothing else.
    """
    if file.exists() and not file.is_file() and not file.is_dir():
        yield file
        return
    with whole_files([file]) as (place,):
        yield place


@contextmanager
def whole_files(files: Sequence[Path]) -> Iterator[list[Path]]:
    """Yield places to write files of one folder to; see ``whole_file``.

    They take their names when all are on the disk, one after another and the first one last, so
    that it is there only with the others.
    """
    targets = [_target(file) for file in files]
    partial = new_partial(targets[0])
    places = [partial / target.name for target in targets]
    try:
        yield places
        for place, target in zip(places, targets, strict=True):
            _set_mode(place, target if target.exists() else partial)
            to_disk(place)
        for place, target in reversed([*zip(places, targets, strict=True)]):
            os.replace(place, target)
    except OSError as error:
        raise _named(error, partial, targets[0]) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    to_disk(targets[0].parent)


@contextmanager
def whole_folder(folder: Path, *, shared: bool = True) -> Iterator[Path]:
    """Yield an empty folder, which takes the name of ``folder`` when all in it is on the disk.

    A reader finds the folder whole, or the one before it, or none. Where the system lets two names
    trade places in one step, as Linux does, a process that is killed loses neither.

    Args:
        folder: replaced where it is there; its parent is.
        shared: whether other processes write to the place, too. It then has the name of the folder
            with ``.partial`` at the end, one alone may enter this, and what has that name is
            removed, so that it must be in a folder of ours.

    Raises:
        OSError: if it cannot be written; then the one before it stays, and nothing else.
    """
    target = _resolved(folder)
    if target.exists() and not target.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(target))
    if shared:
        partial = target.with_name(target.name + PARTIAL)
        _remove(partial)
        partial.mkdir()
    else:
        partial = new_partial(target)
    try:
        yield partial
        for part in sorted(partial.rglob("*"), reverse=True):
            if part.is_file() and not part.is_symlink():
                _set_mode(part, partial)
            if not part.is_symlink():
                to_disk(part)
        to_disk(partial)
        if not target.exists():
            os.replace(partial, target)
        elif not exchanged(partial, target):
            former = target.with_name(f"{target.name}.former{PARTIAL}")
            _remove(former)
            os.replace(target, former)
            os.replace(partial, target)
            _remove(former)
    except OSError as error:
        raise _named(error, partial, target) from None
    finally:
        _remove(partial)
    to_disk(target.parent)


def _target(file: Path) -> Path:
    target = _resolved(file)
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    return target


def _resolved(path: Path) -> Path:
    """What a link names in the end, whether that is there or not; another path as it is."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _remove(path: Path) -> None:
    if path.is_file() or path.is_symlink():
        path.unlink()
    shutil.rmtree(path, ignore_errors=True)


def _set_mode(file: Path, like: Path) -> None:
    """Give a file the permissions of another, or those of a new one beside a new folder."""
    mode = stat.S_IMODE(like.stat().st_mode)
    mode = mode & 0o666 if like.is_dir() else mode
    if stat.S_IMODE(file.stat().st_mode) != mode:
        with suppress(PermissionError):  # of a file system that has none
            file.chmod(mode)


def _named(error: OSError, partial: Path, target: Path) -> OSError:
    """An error of the system, about the file that the user knows."""
    if str(error.filename or "").startswith(str(partial)):
        return type(error)(error.errno, error.strerror, str(target))
    return error


def to_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk, where the system can say so."""
    if path.is_dir() and os.name == "nt":  # Windows opens no folders
        return
    try:
        opened = os.open(path, os.O_RDONLY)
    except PermissionError:  # to write to a file or folder is no leave to read it
        return
    try:
        _sync(opened)
    finally:
        os.close(opened)


def _sync(opened: int) -> None:
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno not in _CANNOT_WAIT:
            raise


def append_whole(file: Path, text: str) -> None:
    """Add text in UTF-8 to a file and wait until it is on the disk; all of it, or nothing.

    What a process that is killed may leave is half of it, at the end.

    Raises:
        OSError: if it cannot be written; then the file is as before.
    """
    is_new = not file.exists()
    with file.open("ab", buffering=0) as opened:
        before, left = opened.tell(), memoryview(text.encode())
        try:
            while left:
                left = left[opened.write(left) :]
            _sync(opened.fileno())
        except OSError:
            os.ftruncate(opened.fileno(), before)
            raise
    if is_new:
        to_disk(file.parent)


def write_whole(file: Path, content: str | bytes) -> None:
    """Write text, in UTF-8, or bytes in one step; see ``whole_file``."""
    data = content.encode() if isinstance(content, str) else content
    with whole_file(file) as partial:
        partial.write_bytes(data)


def write_json(file: Path, content: Any) -> None:
    """Write JSON in one step; see ``whole_file``."""
    write_whole(file, json.dumps(content, indent=2) + "\n")


def read_json(file: Path) -> dict[str, Any]:
    """Return the JSON object of a file.

    Raises:
        UserError: if it is not there, or none.
    """
    try:
        content = json.loads(read_text(file))
    except (ValueError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        content = None
    if not isinstance(content, dict):
        raise UserError(f"{file} is damaged: it is no JSON object.")
    return content
