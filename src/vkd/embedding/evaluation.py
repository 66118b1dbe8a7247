"""Measuring a student while it trains, and after."""

import time
from collections.abc import Sized
from functools import partial
from typing import cast

from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import Dataset

from vkd.data.images import Splits
from vkd.embedding.config import EmbeddingConfig
from vkd.embedding.data import Probe
from vkd.embedding.measures import (
    Embed,
    LabelledRows,
    Rows,
    embedded,
    labelled_measures,
    of_teacher,
    similarity,
)
from vkd.errors import FieldError
from vkd.teacher import Teacher


class Evaluation:
    """Measures a student beside its teacher, whose values are computed once.

    Args:
        config: the recipe.
        splits: its pictures; the held-out ones are measured.
        probe: labelled pictures; None without any.
        teacher: gives the features to compare with; None without a teacher.
        is_test: whether to measure with the test pictures, not with those to validate with.

    Attributes:
        teacher_probe: the teacher's embeddings of the probe; None before a call, or without one.
        student_probe: the student's of the last call.
        images_per_second: of the student in the last call, data loading included.
    """

    def __init__(
        self,
        config: EmbeddingConfig,
        splits: Splits,
        probe: Probe | None,
        teacher: Teacher | None,
        is_test: bool = False,
    ) -> None:
        self.config, self.probe, self.teacher = config, probe, teacher
        self._images = splits.test if is_test else splits.validation
        self._classes, self._is_test = len(splits.classes), is_test
        self._of_teacher: Rows | None = None
        self._teacher_measures: dict[str, float] = {}
        self.teacher_probe: LabelledRows | None = None
        self.student_probe: LabelledRows | None = None
        self.images_per_second = 0.0

    def __call__(self, embed: Embed, accelerator: Accelerator) -> dict[str, float]:
        """Return the measures of a student.

        Args:
            embed: maps images (N, C, H, W) to embeddings (N, D).
            accelerator: of the processes.

        Raises:
            FieldError: if too few pictures could be read.
        """
        metrics: dict[str, float] = {}
        began = time.perf_counter()
        ours = self._rows(embed, self._images, self._classes, accelerator)
        seconds = time.perf_counter() - began
        self.images_per_second = len(cast(Sized, self._images)) / seconds
        if self.probe is not None:
            self.student_probe = self._labelled(embed, self.probe, accelerator)
            metrics |= labelled_measures(self.student_probe)
        if self.teacher is not None:
            metrics |= self._beside_teacher(ours, self.teacher, accelerator)
        return metrics | ({"skipped": float(ours.skipped)} if ours.skipped else {})

    def _beside_teacher(
        self, ours: Rows, teacher: Teacher, accelerator: Accelerator
    ) -> dict[str, float]:
        theirs = partial(_features, teacher)
        if self._of_teacher is None:
            self._of_teacher = self._rows(theirs, self._images, self._classes, accelerator)
            if len(self._of_teacher.features) < 2:
                raise FieldError("data_path", "has too few pictures to measure that can be read.")
            if self.probe is not None:
                self.teacher_probe = self._labelled(theirs, self.probe, accelerator)
                self._teacher_measures = of_teacher(labelled_measures(self.teacher_probe))
        found = similarity(ours.features, self._of_teacher.features)
        return found | self._teacher_measures

    def _labelled(self, embed: Embed, probe: Probe, accelerator: Accelerator) -> LabelledRows:
        queries = probe.test if self._is_test else probe.validation
        classes = len(probe.classes)
        return LabelledRows(
            self._rows(embed, probe.index, classes, accelerator),
            self._rows(embed, queries, classes, accelerator),
        )

    def _rows(self, embed: Embed, images: Dataset, classes: int, accelerator: Accelerator) -> Rows:
        return embedded(embed, images, classes, self.config, accelerator)


def _features(teacher: Teacher, images: Tensor) -> Tensor:
    """A teacher's pooled features (N, T)."""
    return teacher(images).only
