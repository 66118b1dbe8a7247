"""What a data set holds, in words and samples, for ``vkd check``."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import to_pil_image

from vkd.data.pictures import picture_size
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


def as_picture(image: Tensor, inputs: InputFormat) -> Image.Image:
    """Return a network's input (C, H, W) as the picture that it shows."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (inputs.mean, inputs.std))
    return to_pil_image((image * std + mean).clamp(0, 1))
