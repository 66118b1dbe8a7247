"""What the data of a detection recipe hold, for ``vkd check``."""

from collections import Counter

from torchvision.ops import box_convert

from vkd.data.description import (
    DataDescription,
    Sample,
    SplitDescription,
    as_picture,
    sizes_of,
    spread,
)
from vkd.data.transforms import IMAGENET
from vkd.detection.coco import CocoImages
from vkd.detection.config import DetectionConfig
from vkd.detection.data import read_detection
from vkd.detection.drawing import drawn

_SIDE = 360


def describe(config: DetectionConfig, samples: int) -> DataDescription:
    """Return what the splits of a recipe hold.

    Args:
        config: the recipe.
        samples: pictures of each split to show.

    Raises:
        UserError: if the data cannot be read.
    """
    images = read_detection(config, splits=())
    notes = [f"{name}: {note}" for name, split in images.items() for note in split.notes]
    if "train" not in images:
        notes.append("no training split, so these data are for evaluation alone")
    found = {name: _split(split, samples) for name, split in images.items()}
    return DataDescription(config.dataset, "objects", found, notes)


def _split(images: CocoImages, samples: int) -> SplitDescription:
    labels = images.categories.labels
    objects = Counter(
        images.categories.names[labels[annotation["category_id"]]]
        for annotation in images.ground_truth["annotations"]
        if annotation["category_id"] in labels
    )
    return SplitDescription(
        str(images.source),
        len(images),
        dict(objects),
        sizes_of(images.sources()),
        [_sample(images, place) for place in spread(len(images), samples)],
    )


def _sample(images: CocoImages, place: int) -> Sample:
    image, target = images[place]
    picture = as_picture(image, IMAGENET)
    # Drawn at the size that a page shows, so that lines and names can be seen.
    picture.thumbnail((_SIDE, _SIDE))
    width, height = picture.size
    boxes = box_convert(target["boxes"], "cxcywh", "xyxy") * image.new_tensor(
        [width, height, width, height]
    )
    labels = target["labels"].tolist()
    names = [images.categories.names[label] for label in labels]
    shown = drawn(picture, boxes, names, labels, width=2)
    counts = ", ".join(f"{name} {count}" for name, count in Counter(names).items())
    is_read = bool(target["is_readable"])
    return Sample(shown, (counts or "no objects") if is_read else "cannot be read")
