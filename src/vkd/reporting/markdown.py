"""Names from data within Markdown, where they stay names: no markup, no end of a block of code."""

import re

from vkd.plain_text import plain

# What begins HTML, links, code, and columns of tables. Others change letters at most.
_MARKUP = re.compile(r"[<>&\[\]`|\\]")


def words(text: str) -> str:
    """Return a text as words of one line."""
    return _MARKUP.sub(r"\\\g<0>", _line(text))


def code(text: str) -> str:
    """Return a text as code within a line."""
    line = _line(text)
    fence = "`" * (_longest_fence(line) + 1)
    space = " " if "`" in line else ""
    return f"{fence}{space}{line}{space}{fence}"


def block(text: str, language: str) -> str:
    """Return a text of several lines as a block of code."""
    fence = "`" * max(3, _longest_fence(text) + 1)
    return f"{fence}{language}\n{plain(text).rstrip()}\n{fence}\n"


def _line(text: str) -> str:
    return plain(" ".join(text.split()))


def _longest_fence(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)
