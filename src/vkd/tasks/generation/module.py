"""Discriminator and generator with their losses."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vkd.baselines import PROJECTIONS
from vkd.config import GenerationConfig
from vkd.generation.augmentation import diff_augment
from vkd.loss import FeatureLoss
from vkd.models.biggan import Discriminator, Generator
from vkd.normalization import Normalization
from vkd.teacher import Teacher


class DiscriminatorModule(nn.Module):
    """A discriminator with its hinge loss, and the distance of its features from a teacher's.

    The teacher sees the real images as the discriminator does, augmented alike; its features are
    normalised and the discriminator's projected (paper, section 4.3). The paper does not say which
    images these are.

    Args:
        discriminator: tells real images from made ones.
        generator: makes images; not trained here.
        config: weights and kinds of the losses.
        teacher: answers with features; None to train alone.
        teacher_dim: number of these.
        normalization: of the teacher's features; a name or a function.
    """

    def __init__(
        self,
        discriminator: Discriminator,
        generator: Generator,
        config: GenerationConfig,
        teacher: Teacher | None = None,
        teacher_dim: int = 0,
        normalization: str | Normalization = "whiten",
    ) -> None:
        super().__init__()
        self.config, self.teacher, self.discriminator = config, teacher, discriminator
        self._others = [generator]  # in a list, which hides it from whatever trains this module
        self.loss: FeatureLoss | None = None
        if teacher is not None:
            projection = PROJECTIONS[config.projection](discriminator.width, teacher_dim)
            self.loss = FeatureLoss(projection, normalization, config.distance)

    def forward(self, batch: tuple[Tensor, Tensor, Tensor]) -> dict[str, Tensor]:
        """Return the weighted loss terms of real (images, labels, indices)."""
        images, labels, indices = batch
        with torch.no_grad():
            made, made_labels = _make(self._others[0], len(images), images.device)
        both = torch.cat([images, made])
        if self.config.diff_augment:
            both = diff_augment(both)
        logits, features = self.discriminator(both, torch.cat([labels, made_labels]))
        real, fake = logits.chunk(2)
        terms = {"real": F.relu(1 - real).mean(), "fake": F.relu(1 + fake).mean()}
        if self.loss is not None:
            assert self.teacher is not None
            seen = both[: len(images)]
            known = self.teacher(seen, indices).only
            loss = self.loss(features[: len(images)].float(), known.float())
            terms["feature"] = self.config.feature_weight * loss
        return terms


class GeneratorModule(nn.Module):
    """A generator with its hinge loss.

    Args:
        generator: makes images.
        discriminator: judges them; not trained here.
        config: of the augmentation.
    """

    def __init__(
        self, generator: Generator, discriminator: Discriminator, config: GenerationConfig
    ) -> None:
        super().__init__()
        self.config, self.generator = config, generator
        self._others = [discriminator]

    def forward(self, batch: Any, labels: Tensor | None = None) -> dict[str, Tensor] | Tensor:
        """Return the loss term of as many images as a batch has, or images of (noise, labels)."""
        if labels is not None:
            return self.generator(batch, labels)
        images, made_labels = _make(self.generator, len(batch[0]), batch[0].device)
        if self.config.diff_augment:
            images = diff_augment(images)
        with _frozen(self._others[0]):
            logits, _ = self._others[0](images, made_labels)
            return {"generator": -logits.mean()}


def _make(generator: Generator, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Images of random classes, and these."""
    labels = torch.randint(generator.num_classes, (count,), device=device)
    return generator(generator.draw(count).to(device), labels), labels


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    """No gradients for the parameters of ``module``, though they flow through it."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)
