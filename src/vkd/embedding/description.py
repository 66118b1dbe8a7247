"""What the data of an embedding recipe hold, for ``vkd check``."""

from typing import Any

from vkd.data.description import DataDescription, labelled_split
from vkd.embedding.config import AUTO, EmbeddingConfig
from vkd.embedding.data import kind_of, read_splits, student_format

_WITHOUT_LABELS = "without labels"


def describe(config: EmbeddingConfig, samples: int) -> DataDescription:
    """Return what the splits of a recipe hold.

    Args:
        config: the recipe.
        samples: pictures of each split to show.

    Raises:
        UserError: if the data cannot be read.
    """
    splits = read_splits(config, student_format(config))
    dataset = kind_of(config.data_path) if config.dataset == AUTO else config.dataset
    classes = [name or _WITHOUT_LABELS for name in splits.classes]
    parts: dict[str, Any] = {
        "train": splits.train, "validation": splits.validation, "test": splits.test
    }  # fmt: skip
    found = {
        name: labelled_split(
            images, classes, splits.format, splits.readers.get(name), dataset, samples
        )
        for name, images in parts.items()
        # Without a test split the validation split stands for it.
        if images is not None and not (name == "test" and images is splits.validation)
    }
    notes = list(splits.notes)
    if splits.train is None:
        notes.append("no training split, so these data are for evaluation alone")
    return DataDescription(dataset, "pictures", found, notes)
