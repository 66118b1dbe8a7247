"""Which files may be named by other files: those inside of a folder that the user named.

A user asks for a file by naming it, or a folder that holds it (``data_path``, ``image_folder``),
in a command, a call or a recipe. What annotations, tables, indexes and run folders name is no such
request.
"""

import os
from pathlib import Path


def inside(folder: str | Path, name: str, *, through_links: bool = True) -> str | None:
    """Return a path relative to a folder, with slashes; None if it is empty or leads outside.

    Args:
        folder: that the user named.
        name: a path as a file has it: relative to the folder or absolute, with slashes or
            backslashes.
        through_links: whether links within the folder may lead anywhere, as in data sets that are
            put together of links; else what they lead to counts.
    """
    if not name or "\0" in name:
        return None
    resolved = os.path.abspath if through_links else os.path.realpath
    top = resolved(folder)
    path = os.path.relpath(resolved(os.path.join(top, name.replace("\\", "/"))), top)
    if path == "." or path.split(os.sep)[0] == "..":
        return None
    return path.replace(os.sep, "/")
