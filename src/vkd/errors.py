"""Errors that the command line turns into one sentence and an exit code."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches


class UserError(ValueError):
    """A user's mistake: a wrong flag, name, path or value (exit code 2)."""


class RunError(RuntimeError):
    """The command was right but could not be carried out (exit code 1)."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return '; did you mean X?' for the known name nearest to ``name``, or '.' if none is near."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else "."


@contextmanager
def blaming(flag: str) -> Iterator[None]:
    """Turn a ValueError of the library below into a UserError that begins with ``flag``."""
    try:
        yield
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{flag}: {error}") from error
