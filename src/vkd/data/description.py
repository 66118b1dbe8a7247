"""What a data set holds, in words and samples, for ``vkd check``."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Subset, default_collate
from torchvision.transforms.v2.functional import to_pil_image

from vkd.data.pictures import picture_size
from vkd.data.reader import PictureReader
from vkd.errors import UserError
from vkd.inputs import InputFormat

_MOST_LOOKED_AT = 1000


@dataclass(frozen=True)
class Sample:
    """A picture as the network sees it, and what it is said to show."""

    picture: Image.Image
    caption: str


@dataclass
class SplitDescription:
    """What one split holds.

    Attributes:
        source: the folder or file that it was read from.
        pictures: their number.
        counts: pictures of each class, or objects of each category.
        sizes: smallest and largest (width, height), and of how many pictures; of these
            ``unreadable`` could not be read.
        samples: some pictures.
    """

    source: str
    pictures: int
    counts: dict[str, int]
    sizes: dict[str, Any] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return all but the samples, as JSON knows them."""
        rest = {name: value for name, value in vars(self).items() if name != "samples"}
        return asdict(SplitDescription(**rest)) | {"samples": len(self.samples)}


@dataclass
class DataDescription:
    """What a data set holds.

    Attributes:
        dataset: its kind, such as folder or coco.
        counted: what ``counts`` count: ``pictures`` of classes or ``objects`` of categories.
        splits: by name.
        notes: what was mended, left out or guessed.
    """

    dataset: str
    counted: str
    splits: dict[str, SplitDescription]
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON knows."""
        splits = {name: split.as_dict() for name, split in self.splits.items()}
        return {
            "dataset": self.dataset,
            "counted": self.counted,
            "notes": self.notes,
            "splits": splits,
        }


def spread(count: int, most: int) -> list[int]:
    """Return at most ``most`` of ``count`` places, evenly spread."""
    return [place * count // min(count, most) for place in range(min(count, most))]


def few_batches(images: Any, count: int, size: int = 64) -> Iterator[list[Any]]:
    """Yield batches of ``count`` items of a data set, evenly spread, read in this process.

    Unlike a ``DataLoader`` it draws no random numbers of its own.
    """
    places = spread(len(images), count)
    for start in range(0, count, size):
        yield default_collate([images[place] for place in places[start : start + size]])


def sizes_of(files: Sequence[tuple[str, Path]]) -> dict[str, Any]:
    """Return the range of sizes of pictures, by their headers, and how many cannot be read.

    Of more than a thousand, so many are looked at, evenly spread.
    """
    sizes, unreadable = [], []
    for name, file in (files[place] for place in spread(len(files), _MOST_LOOKED_AT)):
        try:
            sizes.append(picture_size(file))
        except UserError:
            unreadable.append(name)
    found: dict[str, Any] = {"looked_at": len(sizes) + len(unreadable)}
    if sizes:
        widths, heights = zip(*sizes, strict=True)
        found |= {
            "smallest": [min(widths), min(heights)],
            "largest": [max(widths), max(heights)],
        }
    found["unreadable"] = len(unreadable)
    if unreadable:
        found["first_unreadable"] = unreadable[0]
    return found


def labelled_split(
    images: Any,
    classes: list[str],
    inputs: InputFormat,
    reader: PictureReader | None,
    source: str,
    samples: int,
) -> SplitDescription:
    """Return what a split of labelled pictures holds.

    Args:
        images: ``Images``, ``Photographs``, or a ``Subset`` of them.
        classes: names.
        inputs: how the images are normalised.
        reader: of all photographs of the split; None for images in memory.
        source: what they are called where they have no reader.
        samples: pictures to show.
    """
    chosen = images.indices if isinstance(images, Subset) else range(len(images))
    whole: Any = images.dataset if isinstance(images, Subset) else images
    labels = np.asarray(whole.labels if reader is None else reader.labels)[list(chosen)]
    sizes: dict[str, Any] = {}
    if reader is not None:
        source, every = reader.source, reader.sources()
        # The files of shards and tables are no pictures.
        if len(every) == len(reader):
            sizes = sizes_of([every[place] for place in chosen])
    counts = np.bincount(labels[labels >= 0], minlength=len(classes))
    shown = []
    for place in spread(len(images), samples):
        image, label, _ = images[place]
        caption = classes[int(label)] if label >= 0 else "cannot be read"
        shown.append(Sample(as_picture(image, inputs), caption))
    named = dict(zip(classes, counts.tolist(), strict=True))
    return SplitDescription(source, len(labels), named, sizes, shown)


def as_picture(image: Tensor, inputs: InputFormat) -> Image.Image:
    """Return a network's input (C, H, W) as the picture that it shows."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (inputs.mean, inputs.std))
    return to_pil_image((image * std + mean).clamp(0, 1))
