"""Discriminator and generator with their losses."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vkd.generation.augmentation import diff_augment
from vkd.generation.config import GenerationConfig
from vkd.methods.method import Signals, explained_by
from vkd.models.biggan import Discriminator, Generator
from vkd.store.teacher import Stored
from vkd.teacher import Teacher
from vkd.training.task import TrainingModule

# Images, labels and indices; with a store what it adds as well.
Batch = tuple[Tensor, Tensor, Tensor] | tuple[Tensor, Tensor, Tensor, Stored]


class DiscriminatorModule(TrainingModule):
    """A discriminator with its hinge loss, and the loss of a method that compares features.

    The teacher sees the real images as the discriminator does, augmented alike; its features are
    normalised and the discriminator's projected (paper, section 4.3). The paper does not say which
    images these are.

    Args:
        discriminator: tells real images from generated ones.
        generator: generates images; not trained here.
        config: weights and kinds of the losses.
        teacher: gives features; None to train alone.
        method: compares them with the discriminator's.
        samples: number of training images; a store's rows count each of its views.
    """

    deployed: ClassVar[str] = "discriminator"

    def __init__(
        self,
        discriminator: Discriminator,
        generator: Generator,
        config: GenerationConfig,
        teacher: Teacher | None = None,
        method: nn.Module | None = None,
        samples: int = 0,
    ) -> None:
        super().__init__()
        self.samples = samples
        self.config, self.teacher, self.discriminator = config, teacher, discriminator
        self.method = method
        self._others = [generator]  # in a list, which hides it from whatever trains this module
        if config.compile:
            discriminator.compile()
            if method is not None:
                method.compile()

    def undecayed(self) -> set[str]:
        """Return the method's parameters."""
        return set() if self.method is None else self.parameters_in("method")

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the weighted loss terms of a batch of real images; see ``Batch``."""
        images, labels, indices, stored = batch if len(batch) == 4 else (*batch, None)
        with torch.no_grad():
            generated, drawn = _generate(self._others[0], len(images), images.device)
        both = torch.cat([images, generated])
        if self.config.diff_augment:
            both = diff_augment(both)
        if self.config.channels_last:
            both = both.contiguous(memory_format=torch.channels_last)
        # First, as what it takes to compute is free again before the discriminator keeps its maps.
        output = None
        if stored is not None:
            output, indices = stored.output, indices % self.samples
        elif self.teacher is not None:
            output = self.teacher(both[: len(images)], indices)
        logits, features = self.discriminator(both, torch.cat([labels, drawn]))
        real, fake = logits.chunk(2)
        terms = {"real": F.relu(1 - real).mean(), "fake": F.relu(1 + fake).mean()}
        if self.method is not None and output is not None:
            signals = Signals(
                student_features=features[: len(images)],
                teacher_features=output.only,
                labels=labels,
                indices=indices,
            )
            terms["feature"] = self.config.feature_weight * self.method(signals)
        return terms

    def explained(self) -> dict[str, Tensor]:
        """Return what the method explains; see ``TrainingModule``."""
        return {} if self.method is None else explained_by({"feature": self.method})


class GeneratorModule(TrainingModule):
    """A generator with its hinge loss.

    Args:
        generator: generates images.
        discriminator: judges them; not trained here.
        config: of the augmentation.
    """

    deployed: ClassVar[str] = "generator"

    def __init__(
        self, generator: Generator, discriminator: Discriminator, config: GenerationConfig
    ) -> None:
        super().__init__()
        self.config, self.generator = config, generator
        self._others = [discriminator]
        if config.compile:
            generator.compile()

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the loss term of as many generated images as a batch of real ones has."""
        images, drawn = _generate(self.generator, len(batch[0]), batch[0].device)
        if self.config.diff_augment:
            images = diff_augment(images)
        with _frozen(self._others[0]):
            logits, _ = self._others[0](images, drawn)
            return {"generator": -logits.mean()}


def _generate(generator: Generator, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Images of random classes, and these."""
    labels = torch.randint(generator.num_classes, (count,), device=device)
    return generator(generator.draw(count, device=device), labels), labels


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    """No gradients for the parameters of ``module``, though they flow through it."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)
