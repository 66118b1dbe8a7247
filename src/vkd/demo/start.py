"""What the demonstrations check before they run."""

from pathlib import Path
from typing import Any

from vkd.comparison.results import read_results
from vkd.errors import FieldError
from vkd.places import check_place
from vkd.ranges import require_range

_MOST_SEEDS, _MOST_EPOCHS = 1000, 10**6


def begin(folder: Path, seeds: int, epochs: int) -> dict[str, Any]:
    """Check a demonstration's arguments; return what ``epochs`` changes in recipes.

    Args:
        folder: new, or that of a demonstration that was interrupted.
        seeds: students of each method, at least 2.
        epochs: of students and teacher; 0 for the recipes' own.

    Raises:
        FieldError: if the folder holds results or there are too few seeds.
    """
    require_range("seeds", seeds, 2, _MOST_SEEDS)
    require_range("epochs", epochs, 0, _MOST_EPOCHS)
    check_place(folder, "output")
    if "dataset" in read_results(folder):
        raise FieldError("output", f"{folder} exists already; name a new folder.")
    return {"epochs": epochs, "warmup_epochs": 0} if epochs else {}
