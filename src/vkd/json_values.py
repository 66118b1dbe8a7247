"""Values of JSON files that a stranger may have written: taken if they are of the right kind."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from reprlib import Repr
from typing import Any

from vkd.errors import UserError, shortened

# Above it a float holds no whole number exactly, and no count of ours comes near.
LARGEST_WHOLE = 2**53
_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 40


def shown(value: Any) -> str:
    """Return a value of any size as a sentence shows it."""
    try:
        return _SHORT.repr(value)[:60]
    except (RecursionError, ValueError):  # nested without end, or a number of too many digits
        return f"a {type(value).__name__} that cannot be shown"


def whole(value: Any, least: int = 0) -> int:
    """Return a whole number from ``least`` to ``LARGEST_WHOLE``.

    Raises:
        ValueError: if it is none.
    """
    if type(value) is not int or not least <= value <= LARGEST_WHOLE:
        raise ValueError(f"{shown(value)} is no whole number of at least {least}")
    return value


def finite(value: Any, least: float = -math.inf, most: float = math.inf) -> float:
    """Return a finite number from ``least`` to ``most``.

    Raises:
        ValueError: if it is none.
    """
    is_number = type(value) in (int, float) and abs(value) < 1e300
    if not (is_number and least <= value <= most):
        asked = "finite number" if math.isinf(most) else f"number from {least:g} to {most:g}"
        raise ValueError(f"{shown(value)} is no {asked}")
    return float(value)


def entries(value: Any, kind: type) -> Any:
    """Return a list or dict.

    Raises:
        ValueError: if it is none.
    """
    if not isinstance(value, kind):
        expected = "list" if kind is list else "mapping"
        raise ValueError(f"{shown(value)} is no {expected}")
    return value


@contextmanager
def as_damaged(file: Path) -> Iterator[None]:
    """Turn what goes wrong with the content of a file into a ``UserError`` that names it."""
    try:
        yield
    except UserError:
        raise
    except KeyError as error:
        reason = f"it has no {shown(error.args[0])}"
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
    except ValueError as error:
        reason = str(error)
    else:
        return
    words = " ".join(shortened(reason, 120).split())
    raise UserError(f"{shortened(file, 150)} is damaged: {words.rstrip('.')}.")
