"""Filling a store with a teacher's answers, so that students need no teacher."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import torch
from accelerate import Accelerator
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.utils.data import Subset

from vkd.config import ClassificationConfig
from vkd.data import loader
from vkd.data.views import Views
from vkd.errors import RunError, UserError, blaming
from vkd.models import create_model
from vkd.store import file_of, open_store, write_rows
from vkd.tasks.classification.task import read_splits, student_shape
from vkd.tasks.classification.teachers import describe_store, network_teacher
from vkd.teacher import Teacher, TeacherOutput, joined, widths_of


class TeacherCache:
    """A store for a recipe that is to be filled.

    Args:
        config: the recipe; its seed draws the augmentation.
        folder: of the store, new or not yet complete.
        views: augmented views of each image; 0 for one, where no augmentation is random.
        dtype: of the numbers, float16 or float32.

    Raises:
        UserError: if the folder holds something else, there are no images to train on, or it
            takes ``views`` to tell how many.
    """

    def __init__(self, config: ClassificationConfig, folder: Path, views: int, dtype: str) -> None:
        self.folder = folder
        self.splits = read_splits(config)
        if self.splits.train is None:
            raise UserError(f"--data-path {config.data_path} has no folder train.")
        if not views and self.splits.is_augmented:
            raise UserError(
                "--views must tell how many augmented views of each image to keep; the recipe "
                "augments its images at random."
            )
        views = views or 1
        self.images = Views(self.splits.train, views, config.seed)
        self.description = describe_store(config, self.splits, views, config.seed, dtype)
        with blaming("--output"):
            open_store(folder, self.description)

    def fill(
        self, config: ClassificationConfig, accelerator: Accelerator, show: bool
    ) -> dict[str, float]:
        """Ask the teacher about all rows that are missing; each process takes every n-th file.

        Args:
            config: the recipe, with its teacher's checkpoint.
            accelerator: of the processes.
            show: print progress.

        Returns:
            ``rows``, ``views``, the numbers of ``features`` and ``logits`` of each row, and the
            store's ``megabytes``.

        Raises:
            UserError: if the teacher is not there, or does not suit the images.
            RunError: if the disk is too small, or answers are not finite.
        """
        description = self.description
        teacher, widths = self._teacher(config)
        row_bytes = sum(widths.values()) * getattr(torch, description.dtype).itemsize
        numbers = range(accelerator.process_index, description.files, accelerator.num_processes)
        missing = [n for n in numbers if not file_of(self.folder, n).is_file()]
        self._require_space(row_bytes * sum(len(description.rows_of(n)) for n in missing))
        is_hidden = not (show and accelerator.is_main_process)
        for number in track(missing, "files", console=Console(stderr=True), disable=is_hidden):
            batches = self._batches(number, config)
            self._write(number, [_ask(teacher, images, accelerator) for images in batches])
        accelerator.wait_for_everyone()
        sizes = {"rows": description.rows, "views": description.views, **widths}
        return sizes | {"megabytes": description.rows * row_bytes / 1e6}

    def _teacher(self, config: ClassificationConfig) -> tuple[Teacher, dict[str, int]]:
        """The teacher, and the widths of its answers."""
        shape, classes = self.splits.shape, len(self.splits.classes)
        student = create_model(config.student, **student_shape(config, shape, classes))
        teacher, answers = network_teacher(config, student, torch.zeros(2, *shape))
        widths, logits = widths_of(answers)
        return teacher, {"features": sum(widths.values()), "logits": logits or 0}

    def _require_space(self, needed: int) -> None:
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise RunError(
                f"The answers take {needed / 1e9:.1f} GB and {self.folder} has {free / 1e9:.1f} GB "
                "left; keep fewer --views."
            )

    def _batches(self, number: int, config: ClassificationConfig) -> Iterator[Tensor]:
        rows = Subset(self.images, self.description.rows_of(number))
        for images, _, _ in loader(rows, config.batch_size, workers=config.workers):
            yield images

    def _write(self, number: int, parts: list[TeacherOutput]) -> None:
        try:
            write_rows(file_of(self.folder, number), joined(parts), self.description.dtype)
        except ValueError as error:
            raise RunError(f"{error} Give --dtype float32, if it was not.") from None


def _ask(teacher: Teacher, images: Tensor, accelerator: Accelerator) -> TeacherOutput:
    with accelerator.autocast():
        answers = teacher(images.to(accelerator.device))
    return answers.each(lambda part: part.float().cpu())
