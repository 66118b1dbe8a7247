"""What the data of a classification recipe hold, for ``vkd check``."""

from typing import Any

import numpy as np

from vkd.classification.config import ClassificationConfig
from vkd.classification.data import read_splits, student_format
from vkd.classification.task import check_classes
from vkd.data.description import (
    DataDescription,
    Sample,
    SplitDescription,
    as_picture,
    sizes_of,
    spread,
)
from vkd.data.images import Images, Splits


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
            found[name] = _split(config, splits, name, images, samples)
    return DataDescription(config.dataset, "pictures", found, notes)


def _split(
    config: ClassificationConfig, splits: Splits, name: str, images: Any, samples: int
) -> SplitDescription:
    classes = splits.classes
    if isinstance(images, Images):
        labels, source, sizes = images.labels.numpy(), config.dataset, {}
    else:
        reader = splits.readers[name]
        labels, source = reader.labels, reader.source
        every = reader.sources()
        # The files of shards and tables are no pictures.
        sizes = sizes_of(every) if len(every) == len(reader) else {}
    counts = np.bincount(labels[labels >= 0], minlength=len(classes))
    shown = []
    for place in spread(len(images), samples):
        image, label, _ = images[place]
        caption = classes[int(label)] if label >= 0 else "cannot be read"
        shown.append(Sample(as_picture(image, splits.format), caption))
    return SplitDescription(
        str(source),
        len(labels),
        dict(zip(classes, counts.tolist(), strict=True)),
        sizes,
        shown,
    )
