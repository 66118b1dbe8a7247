"""What the data of a generation recipe hold, for ``vkd check``."""

from typing import Any

from vkd.data.description import DataDescription, labelled_split
from vkd.generation.config import GenerationConfig
from vkd.generation.data import generator_format, read_splits


def describe(config: GenerationConfig, samples: int) -> DataDescription:
    """Return what the splits of a recipe hold, as the generator's images.

    Args:
        config: the recipe.
        samples: pictures of each split to show.

    Raises:
        UserError: if the data cannot be read.
    """
    splits = read_splits(config)
    inputs = generator_format(splits.channels)
    datasets: dict[str, Any] = {
        "train": splits.train, "validation": splits.validation, "test": splits.test
    }  # fmt: skip
    found = {
        name: labelled_split(
            images, splits.classes, inputs, splits.readers.get(name), config.dataset, samples
        )
        for name, images in datasets.items()
        # Without a test split the validation split stands for it.
        if not (name == "test" and images is splits.validation)
    }
    return DataDescription(config.dataset, "pictures", found, splits.notes)
