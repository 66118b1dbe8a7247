"""Texts from data for a person: what orders a terminal about or turns the direction of writing is
shown as an escape, such as ``\\x1b``."""

import re

# Control characters but tab and line feed, marks and overrides of direction, separators of lines,
# and halves of pairs, which stand for bytes that are no UTF-8.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def plain(text: str) -> str:
    """Return a text without unseen characters."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
