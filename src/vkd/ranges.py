"""Ranges of the numbers that arguments, flags and fields of recipes have."""

from vkd.errors import FieldError

# Of files that are opened and answered at once.
MOST_AT_ONCE = 4096
# Pixels.
LARGEST_SIDE = 16384


def require_range(field: str, value: float, least: float, most: float) -> None:
    """Raise ``FieldError`` about an argument that is not from ``least`` to ``most``, or no number.

    Args:
        field: its name.
        value: what was given.
        least: the smallest that is taken.
        most: the largest.
    """
    if not least <= value <= most:
        raise FieldError(field, f"must be from {_shown(least)} to {_shown(most)}, found {value}.")


def _shown(bound: float) -> str:
    return f"{bound:,}" if isinstance(bound, int) else f"{bound:g}"
