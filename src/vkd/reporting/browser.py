"""Opening a page in the user's browser."""

import os
import sys
import webbrowser
from pathlib import Path

from vkd.notes import say


def open_in_browser(page: Path) -> None:
    """Open a page in the user's browser; say in one sentence where that is not possible."""
    if not _has_display():
        say(page, ["not opened, as there is no display here"])
    elif not webbrowser.open(page.resolve().as_uri()):
        say(page, ["not opened, as no browser was found"])


def _has_display() -> bool:
    """Whether there is a desktop, or a browser that the user names by ``BROWSER``.

    On Linux a browser of the terminal would otherwise take that over.
    """
    if not sys.platform.startswith("linux"):
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
