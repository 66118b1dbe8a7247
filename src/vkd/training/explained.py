"""Whether feature losses act: what the student explains of its teacher, epoch by epoch."""

from collections.abc import Mapping, Sequence
from typing import Any

# A rise of less than a hundredth is none; a student that explains most of it has learnt already.
_RISE, _MOST = 0.01, 0.5
# What people are told of all that lies below it.
LEAST_SHARE = -1.0


def told_share(share: float) -> float:
    """Return an explained share as people are told it: at least ``LEAST_SHARE``.

    See ``vkd.similarity.explained_share``. Where targets hardly vary, or have another scale, it is
    some thousands below 0, which says no more and makes a mean or a curve with others unreadable.
    """
    return max(share, LEAST_SHARE)


def standing(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a sentence for each feature loss whose explained share did not rise in a run.

    Args:
        records: of the epochs, as ``metrics.jsonl`` has them, with ``explained`` by loss.
    """
    if len(records) < 2:
        return []
    # Earlier versions recorded none, and then the first epoch's is not known.
    first, last = (_told(records[at].get("explained", {})) for at in (0, -1))
    still = [
        name
        for name, share in last.items()
        if name in first and share < _MOST and share < first[name] + _RISE
    ]
    return [
        f"The student explains {_percent(last[name])} of the variance of what {_named(name)} are "
        f"to match, after {_percent(first[name])} in the first epoch: the loss has hardly taught "
        "it; see weight, layers and normalisation."
        for name in still
    ]


def _told(shares: Mapping[str, float]) -> dict[str, float]:
    return {name: told_share(share) for name, share in shares.items()}


def _percent(share: float) -> str:
    return f"{share:.1%}" + (" or less" if share == LEAST_SHARE else "")


def _named(name: str) -> str:
    return "its features" if name == "feature" else f"its features of {name}"
