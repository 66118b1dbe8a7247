"""Generation as the trainer sees it, and its metrics."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from vkd.config import GenerationConfig
from vkd.data import loader
from vkd.data.generation import GenerationSplits, read_generation
from vkd.errors import blaming
from vkd.generation.metrics import NAMES, Seen, generation_metrics
from vkd.generation.vision import INCEPTION, Extractor, extractor_of, frozen_network
from vkd.models import create_model
from vkd.models.biggan import SIDE, Discriminator, Generator
from vkd.normalization import Normalization, whitening_of
from vkd.reporting.model_card import model_facts
from vkd.tasks.generation.inference import grid
from vkd.tasks.generation.module import DiscriminatorModule, GeneratorModule
from vkd.tasks.projections import saved_projection
from vkd.teacher import Teacher, joined
from vkd.training.task import Task, Turn

# A hinge loss is of the order of one; nothing comes back from a thousand.
_EXPLODING = 1e3
_GRID = 8


class GenerationTask(Task):
    """Binds generator, discriminator, teacher, images and metrics; see ``Task``.

    Args:
        config: the recipe, with the checkpoints of teacher and extractor set where it has them.

    Raises:
        UserError: if data or weights are not there or do not fit.
    """

    model: Generator

    def __init__(self, config: GenerationConfig) -> None:
        self.config = config
        self.metric = NAMES[config.extractor == INCEPTION]["distance"]
        self.splits = read_splits(config)
        classes, channels = len(self.splits.classes), self.splits.channels
        generator = create_model(
            config.model,
            num_classes=classes,
            in_chans=channels,
            channels=config.channels,
            noise_dim=config.noise_dim,
        )
        assert isinstance(generator, Generator)
        self.model = generator
        discriminator = Discriminator(classes, channels, config.channels)
        if config.channels_last:
            generator.to(memory_format=torch.channels_last)
            discriminator.to(memory_format=torch.channels_last)
        taught: dict[str, Any] = {}
        if config.feature_weight:
            with blaming("--teacher-layer"):
                teacher = self._teacher()
                example = teacher(torch.zeros(2, channels, SIDE, SIDE))
            taught = {"teacher": teacher, "teacher_dim": example.only.shape[1]}
            taught["normalization"] = self._normalization(teacher)
        self.turns = [
            Turn(GeneratorModule(generator, discriminator, config), config.generator_every),
            Turn(DiscriminatorModule(discriminator, generator, config, **taught)),
        ]
        self._extractor = extractor_of(config.extractor, config.extractor_checkpoint)
        self._real: Seen | None = None
        self._most_diverse = 0.0

    def _teacher(self) -> Teacher:
        config = self.config
        return frozen_network(
            config.teacher, config.teacher_checkpoint, config.teacher_layer, config.teacher_pool
        )

    def _normalization(self, teacher: Teacher) -> str | Normalization:
        config = self.config
        if config.normalization != "whiten" or config.whitening == "batch":
            return config.normalization
        device = PartialState().device
        batches = loader(self.splits.train, 250)
        known = [teacher(part[0].to(device), part[2]).only for part in batches]
        return whitening_of(torch.cat(known))

    def facts(self) -> dict[str, float]:
        """Sizes of the generator."""
        return generator_facts(self.model)

    def train_loader(self) -> DataLoader:
        """Shuffled batches of the training images."""
        config = self.config
        return loader(
            self.splits.train, config.batch_size, shuffle=True, workers=config.workers,
            drop_last=True,
        )  # fmt: skip

    def validation_loader(self) -> DataLoader:
        """Batches of real images to measure with."""
        return loader(self.splits.validation, 500, workers=self.config.workers)

    def evaluate(
        self, model: nn.Module, batches: DataLoader, accelerator: Accelerator
    ) -> dict[str, float]:
        """Return the metrics of ``vkd.generation.metrics``."""
        if self._real is None:
            self._real = look_at_real(self._extractor, self.splits.validation, accelerator)
        made = look_at_made(self._extractor, model, self.model, self.config.samples, accelerator)
        return generation_metrics(self._real, made, self.config.extractor)

    @torch.no_grad()
    def illustrate(self, model: nn.Module, device: torch.device) -> Image.Image:
        """Return a grid of made images, a row for each of the first classes."""
        rows = min(_GRID, self.model.num_classes)
        labels = torch.arange(rows).repeat_interleave(_GRID)
        noise = self.model.draw(len(labels), torch.Generator().manual_seed(0))
        return grid(model(noise.to(device), labels.to(device)).float().cpu(), _GRID)

    def metadata(self) -> dict[str, str]:
        """What using the weights needs to know: names of classes, and the extractor."""
        return {"classes": json.dumps(self.splits.classes), "extractor": self.config.extractor}

    def extra_state(self, state: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """The projection's weight, and which images were trained on."""
        found = saved_projection(state, "loss.projection.")
        return found | {"subset": {"indices": self.splits.indices}}

    def diagnose(self, terms: dict[str, float], metrics: dict[str, float]) -> str:
        """Exploding losses, or a generator whose images of a class became nearly the same.

        That is so when their diversity falls below a tenth of the most that it has been.
        """
        for name, value in terms.items():
            if abs(value) > _EXPLODING:
                return f"The loss term {name} exploded to {value:.3g}"
        diversity = metrics.get("diversity", self._most_diverse)
        self._most_diverse = max(self._most_diverse, diversity)
        if diversity < self._most_diverse / 10:
            return f"The generator collapsed to a diversity of {diversity:.3g}"
        return ""


def read_splits(config: GenerationConfig) -> GenerationSplits:
    """Return the data of a recipe; see ``read_generation``."""
    return read_generation(
        config.dataset, config.data_path, config.fraction, config.subset_seed, config.flip
    )


def generator_facts(model: Generator) -> dict[str, float]:
    """Return parameters and multiply-adds of a generator."""
    return model_facts(model, torch.zeros(1, model.noise_dim), torch.zeros(1, dtype=torch.long))


def look_at_real(extractor: Extractor, images: Dataset, accelerator: Accelerator) -> Seen:
    """Return what an extractor says of a data set's readable images; see ``look_in_parts``."""
    batches = [part for part in loader(images, 500) if len(part[0])]
    whole, labels = (torch.cat([part[i] for part in batches]) for i in (0, 1))
    whole, labels = whole[labels >= 0], labels[labels >= 0]
    return look_in_parts(extractor, lambda chosen: whole[chosen], labels, accelerator)


def look_at_made(
    extractor: Extractor,
    network: nn.Module,
    generator: Generator,
    count: int,
    accelerator: Accelerator,
) -> Seen:
    """Return what an extractor says of ``count`` made images, always of the same noise.

    Classes take turns. See ``look_in_parts``.

    Args:
        extractor: see ``vkd.generation.vision``.
        network: called with noise and labels.
        generator: the same without wrappers, which draws the noise.
        count: images.
        accelerator: of the processes.
    """
    network.eval()
    device = accelerator.device
    noise = generator.draw(count, torch.Generator().manual_seed(0))
    labels = torch.arange(count) % generator.num_classes

    def made(chosen: Tensor) -> Tensor:
        return network(noise[chosen].to(device), labels[chosen].to(device)).float()

    return look_in_parts(extractor, made, labels, accelerator)


@torch.no_grad()
def look_in_parts(
    extractor: Extractor,
    images_of: Callable[[Tensor], Tensor],
    labels: Tensor,
    accelerator: Accelerator,
) -> Seen:
    """Return what an extractor says of images; each process looks at a part, all get the whole.

    Args:
        extractor: see ``vkd.generation.vision``.
        images_of: maps indices (N,) to images (N, C, H, W) in -1..1.
        labels: of all images.
        accelerator: of the processes.
    """
    count = len(labels)
    share = -(-count // accelerator.num_processes)
    mine = (torch.arange(share) + share * accelerator.process_index).clamp(max=count - 1)
    device = accelerator.device
    seen = joined(extractor(images_of(part).to(device)) for part in mine.split(250))
    seen = seen.each(lambda part: accelerator.gather(part.float())[:count].cpu())
    assert seen.logits is not None
    return Seen(seen.only, seen.logits, labels)


def evaluate(
    config: GenerationConfig, checkpoint: str, accelerator: Accelerator
) -> dict[str, float]:
    """Return the metrics of a checkpoint against the test images, and its sizes.

    Raises:
        UserError: if the checkpoint or the extractor's does not fit.
    """
    beside = Path(checkpoint) / "extractor"
    weights = str(beside) if beside.is_dir() else config.extractor_checkpoint
    extractor = extractor_of(config.extractor, weights)
    model = create_model(config.model, checkpoint)
    assert isinstance(model, Generator)
    facts = generator_facts(model)
    network = accelerator.prepare(model)
    made = look_at_made(extractor, network, model, config.samples, accelerator)
    real = look_at_real(extractor, read_splits(config).test, accelerator)
    return generation_metrics(real, made, config.extractor) | facts
