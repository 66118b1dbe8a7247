"""Fashion-MNIST from IDX files: 70,000 grey images of 28x28 in ten classes of clothing."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vkd.errors import UserError

Part = tuple[Tensor, Tensor]
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
CLASSES = ["T-shirt", "trouser", "pullover", "dress", "coat",
           "sandal", "shirt", "sneaker", "bag", "ankle boot"]  # fmt: skip
VALIDATION = 5000


def read(path: str | Path = "") -> tuple[Part, Part, Part, list[str]]:
    """Return training (55,000), validation (5,000) and test (10,000) parts in 0..1.

    Reads ``{train,t10k}-{images-idx3,labels-idx1}-ubyte``, gzipped or not, from ``path`` or from
    the folder of Debian's package dataset-fashion-mnist.

    Raises:
        UserError: if a file is absent or not in the IDX format.
    """
    folder = Path(path) if path else DEBIAN_FOLDER
    images, labels = _part(folder, "train")
    if len(images) < 2:
        raise UserError(f"{folder} holds {len(images)} training image; there must be two or more.")
    test = _part(folder, "t10k")
    if test[0].shape[1:] != images.shape[1:]:
        sizes = [" x ".join(map(str, part.shape[2:])) for part in (images, test[0])]
        raise UserError(
            f"{folder} has training images of {sizes[0]} and test images of {sizes[1]}."
        )
    # Fixed, so that nothing tuned on the validation part was ever trained on.
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    held_out = min(VALIDATION, max(1, len(images) // 10))
    validation, train = order[:held_out], order[held_out:]
    return (
        (images[train], labels[train]),
        (images[validation], labels[validation]),
        test,
        CLASSES,
    )


def _part(folder: Path, name: str) -> Part:
    images = read_idx(_file(folder, f"{name}-images-idx3-ubyte"), dimensions=3)
    labels = read_idx(_file(folder, f"{name}-labels-idx1-ubyte"), dimensions=1)
    if labels.max() >= len(CLASSES):
        raise UserError(
            f"{folder} has the {name} label {int(labels.max())}; labels must be below "
            f"{len(CLASSES)}."
        )
    if len(images) != len(labels):
        raise UserError(f"{folder} holds {len(images)} {name} images but {len(labels)} labels.")
    return images[:, None].float() / 255, labels.long()


def _file(folder: Path, name: str) -> Path:
    for file in (folder / name, folder / f"{name}.gz"):
        if file.is_file():
            return file
    raise UserError(
        f"There is no {name} or {name}.gz in {folder}; name the folder of the IDX files, or "
        "install Debian's package dataset-fashion-mnist."
    )


def read_idx(file: Path, dimensions: int) -> Tensor:
    """Read a (gzipped) IDX file of unsigned bytes; torchvision's reader does not take gzip.

    Raises:
        UserError: if the file is not IDX of unsigned bytes with that many dimensions.
    """
    length = 4 + 4 * dimensions
    is_packed = file.suffix == ".gz"
    try:
        with gzip.open(file) if is_packed else file.open("rb") as opened:
            header = opened.read(length)
            if len(header) < length or header[:4] != bytes([0, 0, 8, dimensions]):
                raise UserError(
                    f"{file} is not an IDX file of {dimensions}-dimensional unsigned bytes."
                )
            shape = tuple(np.frombuffer(header, ">u4", dimensions, 4).tolist())
            size = math.prod(shape)
            _require_images(file, shape, size, is_packed)
            # No more than it should hold, however much a small packed file becomes.
            data = opened.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        reason = " as a gzip file" if is_packed else f": {error}"
        raise UserError(f"{file} cannot be read{reason}.") from None
    if len(data) != size:
        found = f"{len(data):,}" if len(data) < size else "more"
        raise UserError(f"{file} should hold {size:,} bytes, found {found}.")
    return torch.from_numpy(np.frombuffer(data, np.uint8).reshape(shape).copy())


def _require_images(file: Path, shape: tuple[int, ...], size: int, is_packed: bool) -> None:
    if not size:
        raise UserError(f"{file} holds nothing, its shape is {shape}.")
    # Nothing is packed to less than a thousandth.
    most = file.stat().st_size * (1100 if is_packed else 1)
    if size > most:
        raise UserError(f"{file} should hold {size:,} bytes by its shape, and is too short for it.")
