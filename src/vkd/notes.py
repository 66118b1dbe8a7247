"""What was mended, substituted, left out or guessed, said once."""

import logging
import os
from collections.abc import Iterable

_log = logging.getLogger("vkd")


def say(source: object, notes: Iterable[str]) -> None:
    """Log notes about ``source`` in one line, from the first of several processes alone."""
    text = "; ".join(notes)
    if text and os.environ.get("RANK", "0") == "0":
        _log.warning("%s: %s.", source, text)
