"""What exported networks are tried on: inputs made of pictures, or drawn at random."""

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from vkd.data.pictures import open_picture
from vkd.data.prediction import list_pictures
from vkd.data.samples import readable
from vkd.data.transforms import prediction_transform
from vkd.errors import FieldError
from vkd.inputs import InputFormat
from vkd.training.task import Exported

Inputs = dict[str, Tensor]


def input_format(exported: Exported) -> InputFormat | None:
    """Return how pictures are prepared; None where the network takes none."""
    said = exported.metadata.get("inputs")
    if said is None or (exported.prepare is None and list(exported.inputs) != ["images"]):
        return None
    return InputFormat.from_dict(json.loads(said))


def batches_of(
    exported: Exported, pictures: Iterable[Image.Image], sizes: Iterable[int]
) -> Iterator[Inputs]:
    """Yield a batch of inputs for each of ``sizes``, as long as there are pictures.

    Raises:
        ValueError: if the network takes no pictures.
    """
    inputs = input_format(exported)
    if inputs is None:
        raise ValueError("The network takes no pictures.")
    mode = "L" if inputs.channels == 1 else "RGB"
    remaining = iter(pictures)
    for size in sizes:
        batch = [picture.convert(mode) for picture in islice(remaining, size)]
        if not batch:
            return
        if exported.prepare is not None:
            yield exported.prepare(batch)
        else:
            transform = prediction_transform(inputs)
            yield {"images": torch.stack([transform(picture) for picture in batch])}


def made_batches(exported: Exported, sizes: Iterable[int]) -> Iterator[Inputs]:
    """Yield a batch of inputs for each of ``sizes``: normal numbers, and whole ones of examples."""
    random = torch.Generator().manual_seed(0)
    for size in sizes:
        yield {
            name: torch.randn(size, *example.shape[1:], generator=random)
            if example.is_floating_point()
            else example[torch.arange(size) % len(example)]
            for name, example in exported.inputs.items()
        }


def pictures_below(folder: str, count: int, field: str) -> Iterator[Image.Image]:
    """Return at most ``count`` pictures below a folder, evenly spread.

    Raises:
        FieldError: about ``field``, if there is no such folder, or it holds no picture that can be
            read.
    """
    if not Path(folder).is_dir():
        raise FieldError(field, f"must be a folder of pictures, found {folder}.")
    files = list_pictures([folder])
    found = readable(len(files), count, lambda place: open_picture(Path(files[place])), folder)
    return _some(found, folder, field)


def _some(pictures: Iterator[Image.Image], folder: str, field: str) -> Iterator[Image.Image]:
    is_empty = True
    for picture in pictures:
        is_empty = False
        yield picture
    if is_empty:
        raise FieldError(field, f": {folder} holds no picture that can be read.")


def counted(pictures: int) -> str:
    """Return a number of pictures in words."""
    return f"{pictures:,} picture" if pictures == 1 else f"{pictures:,} pictures"
