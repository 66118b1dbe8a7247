"""Filling a store with a teacher's outputs, so that students need no teacher."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn
from torch.utils.data import Subset

from vkd.config import LabelledImagesConfig
from vkd.data.fingerprint import training_fingerprint
from vkd.data.images import loader
from vkd.errors import FieldError, RunError, as_user_error
from vkd.models.digest import weights_digest
from vkd.store.description import StoreDescription, StoreOptions, describe
from vkd.store.fitting import Contents, check_pictures, views_of
from vkd.store.layout import RowLayout
from vkd.store.rows import (
    bind_teacher,
    check_rows,
    file_of,
    is_store,
    open_rows,
    open_store,
    present_files,
    write_rows,
)
from vkd.teacher import Teacher, TeacherOutput, joined
from vkd.training.reading import read, watching_workers

# Batches whose time tells how long a store takes; the first one, which warms up, is left out.
_TIMED = 4


class Subject(Protocol):
    """What a task knows of the stores of its recipes.

    Attributes:
        contents: what a store holds.
        is_constant: whether no augmentation is random.
        shape: channels, height and width of the images.
    """

    @property
    def contents(self) -> Contents: ...

    @property
    def is_constant(self) -> bool: ...

    @property
    def shape(self) -> tuple[int, int, int]: ...

    def teacher(self, config: Any) -> tuple[Teacher, nn.Module]:
        """Return a recipe's teacher, and the network whose weights a store notes.

        Raises:
            UserError: if it is not there, or does not suit the images.
        """
        ...

    def seen(
        self, images: Any, rows: Tensor, description: StoreDescription, device: torch.device
    ) -> Tensor:
        """Return the images of a batch of ``rows`` (N,) as the teacher sees them, on a device."""
        ...


class StoreFiller:
    """A store for a recipe that is to be filled.

    Args:
        subject: what is stored.
        folder: of the store, new or not yet complete.
        options: views and format.

    Raises:
        UserError: if the folder holds something else, there are no images to train on, or it
            takes ``views`` to say how many.
    """

    def __init__(self, subject: Subject, folder: Path, options: StoreOptions) -> None:
        self.subject, self.folder = subject, folder
        if not options.views and not subject.is_constant:
            raise FieldError(
                "views",
                "must be the number of augmented views of each image to store; the recipe "
                "augments or mixes its images at random.",
            )
        contents = subject.contents
        self.description = contents.described(replace(options, views=options.views or 1))
        if not self.description.rows:
            raise FieldError("data_path", "has one image, and pairs of images to mix need two.")
        self._require_disk()
        is_begun, described = is_store(folder), self.description
        if not is_begun:
            pictures = training_fingerprint(contents.splits, with_contents=True).as_dict()
            described = replace(described, pictures=pictures)
        with as_user_error("output"):
            open_store(folder, described)
        if is_begun:
            check_pictures(describe(folder), contents.splits, str(folder), "output")
        self.images = views_of(str(folder), contents.splits.train, self.description)

    @watching_workers()
    def fill(
        self, config: LabelledImagesConfig, accelerator: Accelerator, show: bool
    ) -> dict[str, float]:
        """Run the teacher for all rows that are missing; each process takes every n-th file.

        Args:
            config: the recipe, with its teacher's checkpoint.
            accelerator: of the processes.
            show: print rows, sizes, hours and progress.

        Returns:
            ``rows``, ``views``, the numbers of ``features`` and ``logits`` of each row, its
            ``row_bytes`` and the store's ``megabytes``; with top-k logits ``kept_mass`` and
            ``least_kept_mass``, the mean and the least probability of the classes that are kept.

        Raises:
            UserError: if the teacher is not there, or does not suit the images or options.
            RunError: if the disk is too small, or outputs are not finite.
        """
        description = self.description
        teacher, network = self.subject.teacher(config)
        with as_user_error("output"), accelerator.main_process_first():
            bind_teacher(self.folder, weights_digest(network.state_dict()))
        with as_user_error("teacher_layer"):
            example = teacher(torch.zeros(2, *self.subject.shape))
            features = example.only.shape[1]
        layout = RowLayout.of(example, description.dtype, description.top_k)
        row_bytes = layout.row_bytes(layout.encoded(example.each(torch.zeros_like)))
        present = set(present_files(self.folder, description))
        with as_user_error("output"):
            for number in present:
                check_rows(self.folder, number, description)
        left = description.rows - sum(len(description.rows_of(n)) for n in present)
        is_shown = show and accelerator.is_main_process
        if is_shown:
            _print(
                f"{description.rows:,} rows of {row_bytes:,} bytes: "
                f"{_size(description.rows * row_bytes)} in all, {left:,} rows are missing"
            )
        self._require_space(row_bytes * left)
        numbers = range(accelerator.process_index, description.files, accelerator.num_processes)
        with Progress(console=Console(stderr=True), disable=not (is_shown and left)) as progress:
            task = progress.add_task("rows", total=left)
            clock = _Clock(left, accelerator.num_processes)
            for number in (n for n in numbers if n not in present):
                parts = []
                for part in self._outputs(number, config, teacher, accelerator):
                    parts.append(part)
                    rows = len(part.only)
                    if (hours := clock.hours(rows)) is not None and is_shown:
                        progress.console.print(f"about {hours} on this machine", highlight=False)
                    progress.advance(task, rows * accelerator.num_processes)
                self._write(number, parts)
        accelerator.wait_for_everyone()
        sizes: dict[str, float] = {"rows": description.rows, "views": description.views}
        sizes |= {"features": features, "logits": layout.classes or 0, "row_bytes": row_bytes}
        return sizes | {"megabytes": description.rows * row_bytes / 1e6} | self._kept_mass()

    def _kept_mass(self) -> dict[str, float]:
        """The mean and the least probability of the classes that are kept, of all rows."""
        description = self.description
        if not description.top_k:
            return {}
        means, least = 0.0, 1.0
        for number in range(description.files):
            mean, smallest = open_rows(self.folder, number, description).kept_mass
            means += mean * len(description.rows_of(number))
            least = min(least, smallest)
        return {"kept_mass": means / description.rows, "least_kept_mass": least}

    def _require_disk(self) -> None:
        """Refuse views that do not fit the disk, however narrow the teacher's features are."""
        above = next(place for place in (self.folder, *self.folder.absolute().parents)
                     if place.exists())  # fmt: skip
        needed = self.description.rows * getattr(torch, self.description.dtype).itemsize
        size = shutil.disk_usage(above).total
        if needed > size:
            raise FieldError(
                "views",
                f"is {self.description.views:,}, which takes at least {needed / 1e9:,.0f} GB, and "
                f"the disk of {self.folder} has {size / 1e9:,.0f} GB in all.",
            )

    def _require_space(self, needed: int) -> None:
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise RunError(
                f"The outputs take {needed / 1e9:.1f} GB and {self.folder} has {free / 1e9:.1f} GB "
                "left; store fewer views, or fewer bytes a row (dtype, top_k)."
            )

    def _outputs(
        self, number: int, config: LabelledImagesConfig, teacher: Teacher, accelerator: Accelerator
    ) -> Iterator[TeacherOutput]:
        """The teacher's outputs for the batches of a file, on the CPU."""
        rows = Subset(self.images, self.description.rows_of(number))
        # Whole pairs, whatever the recipe's batches are.
        size = config.batch_size + config.batch_size % 2
        classes = len(self.subject.contents.splits.classes)
        for images, _, indices in read(loader(rows, size, workers=config.workers, classes=classes)):
            seen = self.subject.seen(images, indices, self.description, accelerator.device)
            with accelerator.autocast():
                output = teacher(seen)
            yield output.each(lambda part: part.float().cpu())

    def _write(self, number: int, parts: list[TeacherOutput]) -> None:
        description = self.description
        try:
            write_rows(
                file_of(self.folder, number), joined(parts), description.dtype, description.top_k
            )
        except ValueError as error:
            raise RunError(f"{error} Set dtype float32, if it was not.") from None


class _Clock:
    """Tells once, after the first batches, how long all rows take.

    Args:
        rows: to come, on all processes.
        processes: their number.
    """

    def __init__(self, rows: int, processes: int) -> None:
        self.rows, self.processes = rows, processes
        self.batches, self.timed, self.began = 0, 0, 0.0

    def hours(self, rows: int) -> str | None:
        """Count a batch that is done; return the hours that are left when they are known first."""
        self.batches += 1
        if self.batches == 1:
            self.began = monotonic()
        elif self.batches <= _TIMED:
            self.timed += rows
        if self.batches != _TIMED:
            return None
        seconds = (monotonic() - self.began) / self.timed * self.rows / self.processes
        return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.1f} minutes"


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def _print(text: str) -> None:
    Console(stderr=True).print(text, highlight=False)
