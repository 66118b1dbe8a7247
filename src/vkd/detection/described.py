"""How messages name values and entries of annotation files, and what counts as a size."""

from typing import Any

_SHOWN = 60


def shown(value: Any) -> str:
    """Return a value as messages show it, cut to a length."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # nested without end, or a number of too many digits
        text = f"a {type(value).__name__} that cannot be shown"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def entry_name(annotation: dict[str, Any], place: int) -> str:
    """Return what messages call an annotation."""
    own = annotation.get("id")
    return f"annotation number {place}" if own is None else f"annotation {shown(own)}"


def as_size(value: Any) -> float | None:
    """Return a width or height, also of a quoted number; None for what is none."""
    if isinstance(value, str) and len(value) < 20:
        try:
            value = float(value)
        except ValueError:
            return None
    return float(value) if type(value) in (int, float) and 0 < value < 1e9 else None
