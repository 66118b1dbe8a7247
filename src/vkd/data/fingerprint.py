"""Which pictures a data set holds, wherever they lie."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import Protocol

import numpy as np
from torch.utils.data import Dataset, Subset

from vkd.data.images import Images
from vkd.data.reader import PictureReader
from vkd.errors import UserError

_SIZE = 16  # bytes of a digest


class TrainingData(Protocol):
    """Splits of any task: their training images, and the readers of photographs by split."""

    @property
    def train(self) -> Dataset | None: ...

    @property
    def readers(self) -> dict[str, PictureReader]: ...


@dataclass(frozen=True)
class Fingerprint:
    """Digests of a data set, in the order of its pictures; empty where it cannot be known.

    Attributes:
        listing: of names, sizes and labels, which costs one look at each file.
        times: of when the files were changed, which a copy may lose.
        contents: of every byte.
    """

    listing: str = ""
    times: str = ""
    contents: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return the digests by name."""
        return asdict(self)


def training_fingerprint(splits: TrainingData, with_contents: bool) -> Fingerprint:
    """Return the fingerprint of the training pictures, or of the part that is trained on.

    Empty for data given as objects.

    Args:
        splits: the data.
        with_contents: also read every file.
    """
    reader = splits.readers.get("train")
    if reader is not None:
        return _of_files(reader.sources(), reader.labels.tobytes(), with_contents)
    images = splits.train.dataset if isinstance(splits.train, Subset) else splits.train
    if not isinstance(images, Images):
        return Fingerprint()
    found = blake2b(images.images.numpy().tobytes(), digest_size=_SIZE)
    found.update(images.labels.numpy().tobytes())
    if isinstance(splits.train, Subset):
        found.update(np.asarray(splits.train.indices).tobytes())
    return Fingerprint(found.hexdigest(), "", found.hexdigest())


def _of_files(
    sources: Iterable[tuple[str, Path]], labels: bytes, with_contents: bool
) -> Fingerprint:
    listing, times, contents = (blake2b(digest_size=_SIZE) for _ in range(3))
    for name, path in sources:
        try:
            status = path.stat()
            listing.update(f"{name}\0{status.st_size}\n".encode())
            times.update(f"{name}\0{status.st_mtime_ns}\n".encode())
            if with_contents:
                with path.open("rb") as file:
                    contents.update(file_digest(file, "blake2b").digest())
        except FileNotFoundError:  # a link to nothing, which is skipped when it is read
            listing.update(f"{name}\0absent\n".encode())
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}.") from None
    listing.update(labels)
    return Fingerprint(
        listing.hexdigest(), times.hexdigest(), contents.hexdigest() if with_contents else ""
    )


def holds_the_same(stored: Fingerprint, splits: TrainingData) -> bool:
    """Return whether the training pictures are those of a fingerprint that has contents.

    Files are read only where their times differ.
    """
    found = training_fingerprint(splits, with_contents=False)
    if found.listing != stored.listing:
        return False
    if found.times == stored.times:
        return True
    return training_fingerprint(splits, with_contents=True).contents == stored.contents
