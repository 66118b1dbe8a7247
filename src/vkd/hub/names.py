"""The files of a published model, and the names that the hub takes."""

import re

from vkd.errors import FieldError

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
PROJECTION = "projection.safetensors"
# Nothing else is written, sent or fetched.
FILES = (WEIGHTS, CONFIG, CARD, PROJECTION)

_REPOSITORY = re.compile(r"[\w][\w.-]{0,95}/[\w][\w.-]{0,95}")
_LICENCE = re.compile(r"[a-z0-9][a-z0-9.+-]*")


def is_repository(name: str) -> bool:
    """Return whether a name is one of the hub's: ``OWNER/NAME``."""
    return bool(_REPOSITORY.fullmatch(name))


def check_repository(name: str) -> None:
    """Raise ``FieldError`` for a name that no repository can have."""
    if not is_repository(name):
        raise FieldError("repo_id", f"must be OWNER/NAME, found {name[:80] or 'nothing'}.")


def check_licence(name: str, value: str) -> None:
    """Raise ``FieldError`` for a licence that is not written as the hub writes them.

    Args:
        name: of the argument.
        value: the licence; empty where it is not known.
    """
    if value and not _LICENCE.fullmatch(value):
        raise FieldError(
            name, f"must be a name of the hub's, such as apache-2.0, found {value[:80]}."
        )
