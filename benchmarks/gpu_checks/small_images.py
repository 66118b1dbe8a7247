"""Short trainings on small images that lie on the device, without the trainer and its packages."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gpu_checks.context import Context
from gpu_checks.modules import Step, Work
from vkd.classification.config import ClassificationConfig
from vkd.classification.task import ClassificationTask
from vkd.data.images import Splits, splits_of
from vkd.models import create_model, last_layer
from vkd.recipe import recipe
from vkd.teacher import MemoryTeacher, NetworkTeacher
from vkd.training.optimization import create_schedule
from vkd.training.task import Objects


@dataclass
class SmallImages:
    """Images (N, C, H, W) and labels (N,) to train and to test on, on the device."""

    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    classes: list[str]

    @classmethod
    def of(cls, splits: Splits, device: torch.device) -> "SmallImages":
        """Return the images of splits that are read into memory whole."""
        parts: list[Any] = [splits.train, splits.test]
        train, test = ((p.images.to(device), p.labels.to(device)) for p in parts)
        return cls(train, test, splits.classes)

    def batches(self, size: int, epochs: int, seed: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield shuffled images, labels and indices, the same for a seed on every device."""
        images, labels = self.train
        random = torch.Generator().manual_seed(seed)
        for _ in range(epochs):
            order = torch.randperm(len(images), generator=random).to(images.device)
            for rows in order.split(size)[: len(images) // size]:
                yield images[rows], labels[rows], rows


def taught(images: SmallImages, name: str, epochs: int, size: int) -> MemoryTeacher:
    """Return a network's outputs for the training images, after it was trained on their labels."""
    torch.manual_seed(0)
    network = create_model(name).to(images.train[0].device).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    for batch, labels, _ in images.batches(size, epochs, seed=0):
        F.cross_entropy(network(batch), labels).backward()
        optimizer.step()
        optimizer.zero_grad()
    return MemoryTeacher(NetworkTeacher(network, last_layer(network)), images.train[0])


class Student:
    """A student of a recipe, and its training.

    Args:
        context: of the check.
        name: of the recipe.
        images: what to train on, without augmentation.
        teacher: of its outputs.
        dtype: of autocast; float32 for none.
        fields: of the recipe.
    """

    def __init__(
        self,
        context: Context,
        name: str,
        images: SmallImages,
        teacher: MemoryTeacher,
        dtype: torch.dtype = torch.float32,
        **fields: Any,
    ) -> None:
        still = {"crop_padding": 0, "flip": False}
        given = {"data": "Splits", "teacher": "MemoryTeacher"}
        found = recipe(name, objects=given, **still, **fields)
        assert isinstance(found, ClassificationConfig)
        few = [(image.cpu(), int(label)) for image, label in zip(*_first(images), strict=True)]
        data = splits_of(few, few, classes=images.classes)
        torch.manual_seed(found.seed)
        task = ClassificationTask(found, Objects(data=data, teacher=teacher))
        self.config, self.images = found, images
        self.step = Step(context, Work(task.steps[0].module, None, found), dtype)
        steps = len(images.train[0]) // found.batch_size
        self.schedule = create_schedule(self.step.optimizer, found, found.lr, steps)

    def train(self, most: int | None = None) -> Tensor:
        """Train by the recipe, for ``most`` steps at most; return the loss of each."""
        losses: list[Tensor] = []
        config = self.config
        for batch in self.images.batches(config.batch_size, config.epochs, config.seed):
            if len(losses) == most:
                break
            self.schedule.step_update(len(losses))
            losses.append(self.step.on(batch))
        return torch.stack(losses)

    @torch.no_grad()
    def accuracy(self) -> float:
        """Return the accuracy on the test images in %."""
        network: nn.Module = self.step.module.get_submodule("student").eval()
        images, labels = self.images.test
        found = torch.cat([network(part).argmax(-1) for part in images.split(1000)])
        return 100 * (found == labels).float().mean().item()


def _first(images: SmallImages) -> tuple[Tensor, Tensor]:
    return images.train[0][:2], images.train[1][:2]
