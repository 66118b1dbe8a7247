"""What a process does to the files of a folder, counted as it does it."""

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Where the folder descriptor of a path stands among the arguments; -1 where there is none.
_PATHS = {
    "os.rename": 2, "os.remove": 1, "os.mkdir": 2, "os.rmdir": 1, "shutil.rmtree": 1,
    "os.truncate": -1, "os.chmod": 2,
}  # fmt: skip
# Of a name what tells the processes apart that write it.
_OWN = re.compile(r"\.\d+-\d+(?=\.partial)")


def watch(folder: Path, act: Callable[[int, str], None]) -> None:
    """Call ``act`` with the number, from 1 on, and a name before each change of a folder's files.

    Files are opened for writing, renamed, removed, cut or made, and folders likewise. What native
    code writes has no event of its own; the files are opened, and renamed, by Python around it.
    It lasts as long as the process, and its children are left alone.
    """
    root, own, count = str(folder.absolute()), os.getpid(), 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event != "open" and event not in _PATHS:
            return
        path = _written(event, arguments)
        if path and os.getpid() == own and (path == root or path.startswith(root + "/")):
            count += 1
            name = _OWN.sub("", os.path.relpath(path, root))
            act(count, f"{event} {name}")

    sys.addaudithook(hook)


def _written(event: str, arguments: tuple[Any, ...]) -> str:
    """The path that is changed, or nothing."""
    path, place = arguments[0], -1
    if event == "open":
        if not arguments[2] & _WRITING:
            return ""
    elif _PATHS[event] >= 0 and len(arguments) > _PATHS[event]:
        place = arguments[_PATHS[event]]
    if isinstance(path, int) or path is None:
        return ""
    path = os.fsdecode(path)
    if place is not None and place >= 0:
        path = os.path.join(os.readlink(f"/proc/self/fd/{place}"), path)
    return os.path.abspath(path)
