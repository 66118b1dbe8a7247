"""A store as a teacher, for batches that are read with their rows or without."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from vkd.features import device_of
from vkd.store.description import describe
from vkd.store.layout import RowLayout
from vkd.store.rows import StoredRows, file_of, open_rows, present_files
from vkd.teacher import TeacherOutput, required


class Stored(NamedTuple):
    """What a store adds to a batch while it is read, so that a step waits for no disk.

    Attributes:
        layout: of the rows.
        rows: the teacher's outputs as the store holds them, (N, width) by name.
        mixing: how the images of the batch are mixed (N, 6), see
            ``vkd.classification.mixing.PairMixing``; None where they are not.
    """

    layout: RowLayout
    rows: Mapping[str, Tensor]
    mixing: Tensor | None = None

    @property
    def output(self) -> TeacherOutput:
        """The teacher's outputs, restored on the device of the rows."""
        return self.layout.decoded(self.rows)


class DiskTeacher:
    """Finds a teacher's outputs in a store by row; see ``vkd.teacher.StoredTeacher``.

    Where a store does not name its only layer, the name is empty.

    Args:
        folder: the store.

    Raises:
        ValueError: if the folder is no store, an incomplete one, or a file cannot be read or does
            not fit the store.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.description = folder, describe(folder)
        missing = self.description.files - len(present_files(folder, self.description))
        if missing:
            raise ValueError(
                f"{folder} is incomplete, {missing} of {self.description.files} files are missing; "
                "the same command completes it."
            )
        numbers = range(self.description.files)
        # All at once: mapping a file reads only its header, and fails where it is not whole.
        self._parts = [open_rows(folder, number, self.description) for number in numbers]
        first = self._parts[0]
        for number, part in enumerate(self._parts):
            if _widths(part) != _widths(first):
                raise ValueError(
                    f"{file_of(folder, number)} does not fit its store: it has {_named(part)}, the "
                    f"first file {_named(first)}."
                )

    def __reduce__(self) -> tuple[type["DiskTeacher"], tuple[Path]]:
        # A process that reads batches maps the files itself, in place of a copy of all rows.
        return type(self), (self.folder,)

    @property
    def layout(self) -> RowLayout:
        """How the rows are held."""
        return self._parts[0].layout

    @property
    def widths(self) -> dict[str, int]:
        """Number of features by layer."""
        return _widths(self._parts[0])[0]

    @property
    def num_classes(self) -> int | None:
        """Number of logits; None without logits."""
        return _widths(self._parts[0])[1]

    def __call__(self, images: Tensor, indices: Tensor | None = None) -> TeacherOutput:
        """Return the outputs of the rows ``indices`` (N,), on the device of ``images``.

        Which rows are which views of which images says ``vkd.data.views.Views``.

        Raises:
            ValueError: without ``indices``, with more or fewer than images, or beyond the rows.
            RunError: if rows are not as they were written.
        """
        device = device_of(images)
        rows = self.rows(required(indices, images).cpu())
        return self.layout.decoded({name: part.to(device) for name, part in rows.items()})

    def rows(self, indices: Tensor) -> dict[str, Tensor]:
        """Return rows as they are held, on the CPU.

        Args:
            indices: of the rows (N,), on the CPU.

        Raises:
            ValueError: for rows that are not there.
            RunError: if rows are not as they were written.
        """
        last = self.description.rows - 1
        if len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) <= last:
            raise ValueError(
                f"indices must be in 0..{last}, the store's rows, found "
                f"{int(indices.min())}..{int(indices.max())}."
            )
        size = self.description.rows_per_file
        files, places = indices // size, indices % size
        parts = self._parts[0].tensors
        found = {name: part.new_empty(len(indices), part.shape[1]) for name, part in parts.items()}
        for number in files.unique().tolist():
            chosen = files == number
            for name, part in self._parts[number].rows(places[chosen]).items():
                found[name][chosen] = part
        return found

    def stored(self, indices: Tensor) -> Stored:
        """Return what a batch of these rows (N,) holds of the store; see ``rows``."""
        return Stored(self.layout, self.rows(indices))


def _widths(part: StoredRows) -> tuple[dict[str, int], int | None]:
    return part.layout.widths(part.tensors)


def _named(part: StoredRows) -> str:
    widths, classes = _widths(part)
    features = ", ".join(f"{width} of {layer!r}" for layer, width in widths.items())
    return f"{features[:60]} features and {classes or 'no'} logits"
