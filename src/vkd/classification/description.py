"""What the data of a classification recipe hold, for ``vkd check``."""

from typing import Any

from vkd.classification.config import ClassificationConfig
from vkd.classification.data import read_splits, student_format
from vkd.classification.task import check_classes
from vkd.data.description import DataDescription, labelled_split


def describe(config: ClassificationConfig, samples: int) -> DataDescription:
    """Return what the splits of a recipe hold.

    Args:
        config: the recipe.
        samples: pictures of each split to show.

    Raises:
        UserError: if the data cannot be read.
    """
    splits = read_splits(config, student_format(config))
    check_classes(splits)
    notes = list(splits.notes)
    if splits.train is None:
        notes.append("no training split, so these data are for evaluation alone")
    datasets: dict[str, Any] = {
        "train": splits.train, "validation": splits.validation, "test": splits.test
    }  # fmt: skip
    found = {}
    for name, images in datasets.items():
        # Without a test split the validation split stands for it.
        if images is not None and not (name == "test" and images is splits.validation):
            found[name] = labelled_split(
                images,
                splits.classes,
                splits.format,
                splits.readers.get(name),
                config.dataset,
                samples,
            )
    return DataDescription(config.dataset, "pictures", found, notes)
