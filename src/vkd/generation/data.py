"""Images to learn to generate: 32 x 32, in -1..1, and fixed shares of them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset, Subset
from torchvision.datasets import CIFAR10, CIFAR100
from torchvision.transforms import v2

from vkd.data.catalogue import SMALL, reader_of
from vkd.data.cifar100 import fetched
from vkd.data.images import Images
from vkd.data.photographs import read_photographs
from vkd.data.reader import PictureReader
from vkd.data.sources import PhotographSource
from vkd.errors import FieldError, as_user_error
from vkd.generation.config import GenerationConfig
from vkd.inputs import InputFormat
from vkd.models.biggan import SIDE

# How a generator's images are, and so those that it learns from; by the number of channels.
_GREY = InputFormat((0.5,), (0.5,), (SIDE, SIDE))
_COLOUR = InputFormat((0.5,) * 3, (0.5,) * 3, (SIDE, SIDE))
_CIFAR = {"cifar10": CIFAR10, "cifar100": CIFAR100}


def generator_format(channels: int) -> InputFormat:
    """Return the format of a generator's images: 32 x 32, in -1..1."""
    return _GREY if channels == 1 else _COLOUR


@dataclass
class GenerationSplits:
    """Training images, and real ones to compare generated ones with.

    Attributes:
        train: images to train on, (image, label, index), a share of all.
        indices: which those are.
        validation, test: images to measure with.
        classes: names.
        channels: of the images.
        readers: of photographs, by train, validation and test, those that are there.
        notes: what was mended, left out or guessed while photographs were read.
    """

    train: Subset
    indices: Tensor
    validation: Dataset
    test: Dataset
    classes: list[str]
    channels: int
    readers: dict[str, PictureReader] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_splits(config: GenerationConfig) -> GenerationSplits:
    """Return the data of a recipe; see ``read_generation``."""
    with as_user_error("data_path"):
        return read_generation(
            PhotographSource.of(config), config.fraction, config.subset_seed, config.flip
        )


def read_generation(
    source: PhotographSource, fraction: float = 1.0, seed: int = 0, flip: bool = False
) -> GenerationSplits:
    """Read a data set and keep a fixed share of its training images.

    Args:
        source: digits, fashion-mnist, cifar10, cifar100 or photographs, and their place;
            torchvision downloads CIFAR into it, and checks it.
        fraction: share of the training images of each class.
        seed: of the choice; it does not depend on anything else.
        flip: mirror half of the training images.

    Raises:
        UserError: if there are no data where the source says, or none to train on.
        RunError: if a download fails.
    """
    train: Any
    validation: Any
    test: Any
    name, path = source.dataset, source.path
    readers: dict[str, PictureReader] = {}
    notes: list[str] = []
    mirror = v2.RandomHorizontalFlip() if flip else None
    if name in SMALL:
        first, *rest, classes = reader_of(SMALL[name])(path)
        train = Images(_sized(first[0]), first[1], mirror)
        validation, test = (Images(_sized(images), labels) for images, labels in rest)
        labels, channels = first[1], first[0].shape[1]
    elif name in _CIFAR:
        train, test, classes = _read_cifar(name, path, mirror)
        validation, labels, channels = test, train.labels, 3
    else:
        steps = [v2.Resize(SIDE), v2.CenterCrop(SIDE), v2.ToImage()]
        steps += [v2.ToDtype(torch.float32, scale=True)]
        steps.append(v2.Normalize(_COLOUR.mean, _COLOUR.std))
        moving = v2.Compose([*([mirror] if mirror else []), *steps])
        parts = read_photographs(source, moving, v2.Compose(steps))
        if parts.train is None:
            raise FieldError("data_path", f"{path} has no images to train on.")
        train, validation, classes = parts.train, parts.validation, parts.classes
        readers, notes, test = parts.readers, parts.notes, parts.test
        labels, channels = torch.from_numpy(parts.train.reader.labels), 3
    indices = subset_indices(labels, fraction, seed)
    return GenerationSplits(
        Subset(train, indices.tolist()), indices, validation, test, classes, channels,
        readers, notes,
    )  # fmt: skip


def subset_indices(labels: Tensor, fraction: float, seed: int) -> Tensor:
    """Return rising indices of a random share of each class, at least one image of each.

    The same labels, fraction and seed always give the same; a smaller fraction of the same seed
    is a part of a larger one.
    """
    random = torch.Generator().manual_seed(seed)
    chosen = []
    for label in labels.unique():
        places = (labels == label).nonzero()[:, 0]
        order = torch.randperm(len(places), generator=random)
        chosen.append(places[order[: max(1, round(fraction * len(places)))]])
    return torch.cat(chosen).sort().values


def _sized(images: Tensor) -> Tensor:
    """Images in 0..1 of any size to 32 x 32 in -1..1."""
    resized = F.interpolate(images, (SIDE, SIDE), mode="bicubic", antialias=True)
    return resized.clamp(0, 1) * 2 - 1


def _read_cifar(
    name: str, path: str, mirror: v2.Transform | None
) -> tuple[Images, Images, list[str]]:
    if not path:
        raise FieldError("data_path", f"is needed: the folder that holds {name} or will.")
    parts = []
    for is_train in (True, False):
        found = fetched(_CIFAR[name], Path(path), is_train)
        images = torch.from_numpy(found.data).permute(0, 3, 1, 2).float() / 127.5 - 1
        labels = torch.tensor(found.targets)
        parts.append(Images(images, labels, mirror if is_train else None))
    return parts[0], parts[1], found.classes
