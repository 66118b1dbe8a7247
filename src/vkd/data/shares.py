"""A fixed share of the training pictures to validate with, where the data have no such split."""

from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vkd.data.reader import Labels, PictureReader, listed, places_among
from vkd.errors import FieldError, UserError


class Share:
    """Some of the pictures of a reader, as a ``PictureReader``.

    Args:
        whole: the reader.
        indices: of the pictures, rising.
        notes: about the share and what it was taken from.
    """

    def __init__(self, whole: PictureReader, indices: Labels, notes: list[str]) -> None:
        self.whole, self.indices, self.notes = whole, indices, notes
        self.source, self.classes = whole.source, whole.classes
        self.labels: Labels = whole.labels[indices]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[Path | BytesIO, int]:
        return self.whole[int(self.indices[index])][0], int(self.labels[index])

    def filename(self, index: int) -> str:
        """Return a picture's name for messages."""
        return self.whole.filename(int(self.indices[index]))

    def sources(self) -> list[tuple[str, Path]]:
        """Return the files that hold the pictures; those of a folder are the share's alone."""
        every = self.whole.sources()
        return [every[i] for i in self.indices] if len(every) == len(self.whole) else every


def relabelled(reader: PictureReader, classes: list[str]) -> PictureReader:
    """Return a reader with the labels of ``classes``, found by name.

    Raises:
        UserError: if it has pictures of other classes.
    """
    places = places_among(reader.classes, classes)
    used = set(np.unique(reader.labels).tolist())
    unknown = [reader.classes[i] for i, place in enumerate(places) if place is None and i in used]
    if unknown:
        raise UserError(
            f"{reader.source} has classes that the training part has not: {listed(unknown)}; it "
            f"has {listed(classes)}."
        )
    if reader.classes == classes:
        return reader
    mapped = np.array([-1 if place is None else place for place in places], dtype=np.int64)
    share = Share(reader, np.arange(len(reader)), reader.notes)
    share.labels, share.classes = mapped[reader.labels], classes
    return share


def hold_out(reader: PictureReader, fraction: float) -> tuple[Share, Share]:
    """Return the pictures to train on, and a share of each class to validate with.

    The choice depends on the labels in their order alone. A class of one picture keeps it for
    training; any other gives one at least.

    Raises:
        FieldError: if no class has two pictures.
    """
    if len(reader) == 1:
        raise FieldError(
            "data_path",
            f": {reader.source} holds one training picture; there must be two or more, of which "
            "one is held out to validate with.",
        )
    held = held_out_places(reader.labels, fraction)
    if not held.any():
        raise FieldError(
            "data_path",
            f": {reader.source} has no validation split, and no class with two pictures of which "
            "one could be held out; add a folder val.",
        )
    notes = [*reader.notes, held_out_note(held, "pictures")]
    train = Share(reader, np.flatnonzero(~held), notes)
    return train, Share(reader, np.flatnonzero(held), [])


def held_out_note(held: NDArray[np.bool_], what: str) -> str:
    """Return what is said of a share that was held out."""
    return (
        f"no validation split, so {held.sum():,} of {len(held):,} training {what} are held out to "
        "validate with"
    )


def held_out_places(labels: Labels, fraction: float) -> NDArray[np.bool_]:
    """Return True (N,) for the pictures of a stratified share, the same whenever it is drawn."""
    held = np.zeros(len(labels), dtype=bool)
    order = np.argsort(labels, kind="stable")
    for places in np.split(order, np.flatnonzero(np.diff(labels[order])) + 1):
        count = min(len(places) - 1, max(1, round(fraction * len(places))))
        # Of each class by itself, so that a further class changes no other's share.
        chosen = np.random.default_rng(0).permutation(len(places))[: max(0, count)]
        held[places[chosen]] = True
    return held
