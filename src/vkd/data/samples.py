"""Pictures of a recipe's data as their files have them, to try networks on."""

from collections.abc import Callable, Container, Iterator
from typing import NamedTuple

from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import to_pil_image

from vkd.data.catalogue import SMALL, reader_of
from vkd.data.description import spread
from vkd.data.photographs import open_source
from vkd.data.pictures import open_picture
from vkd.data.sources import PhotographFields, PhotographSource
from vkd.errors import UserError
from vkd.notes import say

# What stands for a split that is not there, the nearest first.
_NEAREST = {
    "train": ("train", "validation", "test"),
    "test": ("test", "validation", "train"),
}


class Samples(NamedTuple):
    """Some ``pictures`` of a ``split``."""

    split: str
    pictures: Iterator[Image.Image]


OpenSamples = Callable[[str, int], Samples]


def open_samples(config: PhotographFields) -> OpenSamples:
    """Return the pictures of a recipe's data; see ``samples_of``."""
    return samples_of(PhotographSource.of(config))


def samples_of(source: PhotographSource) -> OpenSamples:
    """Return ``(split, count) -> Samples`` of a source, evenly spread over the split.

    ``split`` is train or test; another stands for one that is not there.

    Raises:
        UserError: if the data cannot be read.
    """
    if source.dataset in SMALL:
        *parts, _ = reader_of(SMALL[source.dataset])(source.path)
        images: dict[str, Tensor] = dict(
            zip(("train", "validation", "test"), (part[0] for part in parts), strict=True)
        )
        return lambda split, count: Samples(
            split,
            (to_pil_image(images[split][place]) for place in spread(len(images[split]), count)),
        )
    readers = open_source(source).readers

    def samples(split: str, count: int) -> Samples:
        found = nearest_split(split, readers)
        reader = readers[found]

        def open_one(place: int) -> Image.Image:
            return open_picture(reader[place][0], name=reader.filename(place))

        return Samples(found, readable(len(reader), count, open_one, reader.source))

    return samples


def nearest_split(split: str, known: Container[str]) -> str:
    """Return a split that is ``known``: ``split``, or what stands for it."""
    return next(name for name in _NEAREST[split] if name in known)


def readable(
    count: int, most: int, open_one: Callable[[int], Image.Image], source: str
) -> Iterator[Image.Image]:
    """Yield at most ``most`` of ``count`` pictures, evenly spread; say what cannot be read.

    Args:
        count: of all pictures.
        most: of these to open.
        open_one: opens the picture of a place.
        source: of the pictures, for the message.
    """
    bad: list[str] = []
    for place in spread(count, most):
        try:
            yield open_one(place)
        except UserError as error:
            bad.append(str(error))
    if bad:
        say(
            source, [f"left out {len(bad):,} unreadable of {min(count, most):,} pictures: {bad[0]}"]
        )
