"""What the outputs of a detector mean: its classes, and the categories of a file."""

from dataclasses import dataclass
from typing import Any

from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

from vkd.errors import FieldError

COCO_CATEGORIES, COCO_LARGEST_ID = 80, 90


@dataclass(frozen=True)
class Categories:
    """What a detector's outputs mean: for each of its classes a category ``id`` of the data (-1
    for none) and its ``name``."""

    ids: list[int]
    names: list[str]

    @property
    def labels(self) -> dict[int, int]:
        """The class of each category id."""
        return {category: label for label, category in enumerate(self.ids) if category >= 0}


def categories_of(ground_truth: dict[str, Any], num_classes: int = 0) -> Categories:
    """Return the classes for a file's categories.

    With more classes than the largest id, as the published detectors have (91), and for COCO
    itself, classes are the ids; otherwise the categories in order of their ids.

    Raises:
        UserError: if there are more categories than classes.
    """
    names = {entry["id"]: str(entry["name"]) for entry in ground_truth["categories"]}
    ordered = sorted(names)
    is_coco = (len(ordered), ordered[-1]) == (COCO_CATEGORIES, COCO_LARGEST_ID)
    if num_classes > ordered[-1] or (is_coco and num_classes == 0):
        count = num_classes or COCO_LARGEST_ID + 1
        ids = [index if index in names else -1 for index in range(count)]
        return Categories(ids, [names.get(index, "") for index in ids])
    if num_classes and num_classes < len(ordered):
        raise FieldError(
            "num_classes", f"is {num_classes} and the data has {len(ordered)} categories."
        )
    blank = max(0, num_classes - len(ordered))
    return Categories(ordered + [-1] * blank, [names[index] for index in ordered] + [""] * blank)


def default_categories(num_classes: int) -> Categories:
    """Return the classes of weights that do not name theirs: COCO's for 91, numbers otherwise."""
    if num_classes != COCO_LARGEST_ID + 1:
        return Categories(list(range(num_classes)), [str(label) for label in range(num_classes)])
    names = FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
    ids = [-1 if name in ("__background__", "N/A") else label for label, name in enumerate(names)]
    return Categories(ids, names)
