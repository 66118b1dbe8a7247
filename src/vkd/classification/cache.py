"""Filling a store with a teacher's outputs, so that students need no teacher."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.utils.data import Subset

from vkd.classification.config import ClassificationConfig
from vkd.classification.distillation import TeacherSizes
from vkd.classification.task import training_splits
from vkd.classification.teachers import (
    LoadedTeacher,
    check_pictures,
    describe_store,
    in_order,
    loaded_teacher,
    tapped_teacher,
)
from vkd.data.fingerprint import training_fingerprint
from vkd.data.images import loader
from vkd.data.views import Views
from vkd.errors import FieldError, RunError, as_user_error
from vkd.models.digest import weights_digest
from vkd.notes import say
from vkd.store import (
    bind_teacher,
    check_rows,
    file_of,
    is_store,
    open_store,
    present_files,
    write_rows,
)
from vkd.store_description import describe
from vkd.teacher import Teacher, TeacherOutput, joined, widths_of
from vkd.training.reading import read, watching_workers
from vkd.training.task import Objects


class StoreFiller:
    """A store for a recipe that is to be filled.

    Args:
        config: the recipe; its seed draws the augmentation.
        folder: of the store, new or not yet complete.
        views: augmented views of each image; 0 for one, where no augmentation is random.
        dtype: of the numbers, float16 or float32.
        objects: teacher and data, where they are given as objects.

    Raises:
        UserError: if the folder holds something else, there are no images to train on, or it
            takes ``views`` to say how many.
    """

    def __init__(
        self,
        config: ClassificationConfig,
        folder: Path,
        views: int,
        dtype: str,
        objects: Objects | None = None,
    ) -> None:
        self.folder, self.objects = folder, objects or Objects()
        self.splits = training_splits(config, self.objects)
        if not views and self.splits.constant is None:
            raise FieldError(
                "views",
                "must be the number of augmented views of each image to store; the recipe "
                "augments its images at random.",
            )
        views = views or 1
        self.images = Views(self.splits.train, views, config.seed)
        self.description = describe_store(config, self.splits, views, config.seed, dtype)
        self._require_disk()
        is_begun, described = is_store(folder), self.description
        if not is_begun:
            pictures = training_fingerprint(self.splits, with_contents=True).as_dict()
            described = replace(described, pictures=pictures)
        with as_user_error("output"):
            open_store(folder, described)
        if is_begun:
            check_pictures(describe(folder), self.splits, str(folder), "output")

    @watching_workers()
    def fill(
        self, config: ClassificationConfig, accelerator: Accelerator, show: bool
    ) -> dict[str, float]:
        """Run the teacher for all rows that are missing; each process takes every n-th file.

        Args:
            config: the recipe, with its teacher's checkpoint.
            accelerator: of the processes.
            show: print progress.

        Returns:
            ``rows``, ``views``, the numbers of ``features`` and ``logits`` of each row, and the
            store's ``megabytes``.

        Raises:
            UserError: if the teacher is not there, or does not suit the images.
            RunError: if the disk is too small, or outputs are not finite.
        """
        description = self.description
        loaded = loaded_teacher(config, self.objects.teacher)
        teacher, widths = self._teacher(config, loaded)
        with as_user_error("output"), accelerator.main_process_first():
            bind_teacher(self.folder, weights_digest(loaded.network.state_dict()))
        row_bytes = sum(widths.values()) * getattr(torch, description.dtype).itemsize
        numbers = range(accelerator.process_index, description.files, accelerator.num_processes)
        present = set(present_files(self.folder, description))
        with as_user_error("output"):
            for number in present:
                check_rows(self.folder, number, description)
        stored = sum(len(description.rows_of(n)) for n in present)
        self._require_space(row_bytes * (description.rows - stored))
        missing = [n for n in numbers if n not in present]
        is_hidden = not (show and accelerator.is_main_process)
        for number in track(missing, "files", console=Console(stderr=True), disable=is_hidden):
            batches = self._batches(number, config, accelerator.device)
            self._write(number, [_output(teacher, images, accelerator) for images in batches])
        accelerator.wait_for_everyone()
        sizes = {"rows": description.rows, "views": description.views, **widths}
        return sizes | {"megabytes": description.rows * row_bytes / 1e6}

    def _teacher(
        self, config: ClassificationConfig, loaded: LoadedTeacher
    ) -> tuple[Teacher, dict[str, int]]:
        """The teacher, and the widths of its outputs."""
        teacher: Teacher = tapped_teacher(config, self.splits.format, loaded)
        try:
            teacher = in_order(teacher, loaded, self.splits.classes)
        except FieldError:
            if config.logit_weight:
                raise
            say(loaded.name, ["its logits are of other classes than the data's, and not stored"])
            teacher = _WithoutLogits(teacher)
        with as_user_error("teacher_layer"):
            sizes = TeacherSizes.of(*widths_of(teacher(torch.zeros(2, *self.splits.shape))))
        return teacher, {"features": sizes.features, "logits": sizes.classes}

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
                "left; store fewer views."
            )

    def _batches(
        self, number: int, config: ClassificationConfig, device: torch.device
    ) -> Iterator[Tensor]:
        rows = Subset(self.images, self.description.rows_of(number))
        classes = len(self.splits.classes)
        batches = loader(rows, config.batch_size, workers=config.workers, classes=classes)
        for images, _, _ in read(batches):
            yield self.splits.finished(images, device)

    def _write(self, number: int, parts: list[TeacherOutput]) -> None:
        try:
            write_rows(file_of(self.folder, number), joined(parts), self.description.dtype)
        except ValueError as error:
            raise RunError(f"{error} Set dtype float32, if it was not.") from None


class _WithoutLogits:
    """A teacher of features alone."""

    def __init__(self, teacher: Teacher) -> None:
        self.teacher = teacher

    def __call__(self, images: Tensor, indices: Tensor | None = None) -> TeacherOutput:
        return self.teacher(images, indices)._replace(logits=None)


def _output(teacher: Teacher, images: Tensor, accelerator: Accelerator) -> TeacherOutput:
    with accelerator.autocast():
        output = teacher(images)
    return output.each(lambda part: part.float().cpu())
