"""What a pair of student and teacher is to the rows that measure it."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from accelerate.utils import send_to_device
from torch import nn

from vkd.config import TrainingConfig
from vkd.recipe import recipe
from vkd.training.accelerator import make_accelerator
from vkd.training.task import Objects, Task, TrainingModule

Step = Callable[[], Any]


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes:
        batch_size: images of a step; a detector takes a quarter of it, as its images are larger.
        device: cpu or cuda.
        quick: with small networks and images, to see that all of it works.
        folder: for what a pair's rows share, such as a store.
    """

    batch_size: int
    device: str
    quick: bool
    folder: Path


@dataclass(frozen=True)
class Pair(ABC):
    """A recipe's student and teacher with random weights, on made images.

    Attributes:
        name: as the command takes it.
        recipe: name of the recipe in the package.
        settings: how to measure.
        rows: names of what is measured, see ``steps.rows``.
        alone: fields with which the recipe trains without a teacher.
        stored: fields with which it trains from a store.
        left_out: rows that the recipe cannot have, each with the reason.
    """

    name: str
    recipe: str
    settings: Settings

    rows: ClassVar[tuple[str, ...]]
    alone: ClassVar[dict[str, Any]] = {"feature_weight": 0.0}
    stored: ClassVar[dict[str, Any]] = {}
    left_out: ClassVar[dict[str, str]] = {}

    @property
    def folder(self) -> Path:
        """Where what the rows share lies."""
        return self.settings.folder / self.name

    def config(self, **changes: Any) -> TrainingConfig:
        """Return the recipe, changed for made images, and by ``changes``."""
        settings = self.settings
        fields = {"batch_size": settings.batch_size, "device": settings.device, "workers": 0}
        if settings.device == "cpu":
            fields["mixed_precision"] = "no"  # a recipe's fp16 is a GPU's
        return recipe(self.recipe, **fields | self.fields() | changes)

    def batch(self, task: Task, config: TrainingConfig) -> Any:
        """Return a batch of a task's training images on the device."""
        return send_to_device(next(iter(task.train_loader())), make_accelerator(config).device)

    @abstractmethod
    def fields(self) -> dict[str, Any]:
        """Return the recipe's fields to change for made images."""

    def prepare(self) -> None:  # noqa: B027
        """Make in ``folder``, which is there and empty, what the rows share."""

    @abstractmethod
    def task(self, config: TrainingConfig) -> Task:
        """Return the recipe's task on made images."""

    @abstractmethod
    def teacher(self) -> nn.Module:
        """Return the teacher with random weights."""

    @abstractmethod
    def teacher_forward(self, module: TrainingModule, batch: Any) -> Step:
        """Return the teacher's part of a step alone."""

    @abstractmethod
    def parts(self, task: Task) -> dict[str, nn.Module]:
        """Return the networks and losses whose passes a profile tells apart, by what they are."""

    def objects(self, config: TrainingConfig, data: Any = None) -> Objects:
        """Return the teacher, where a recipe takes a network, and the data."""
        is_taught = bool(config.frozen_networks())
        return Objects(teacher=self.teacher() if is_taught else None, data=data)
