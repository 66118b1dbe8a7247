"""Image generation: a GAN alone, or whose discriminator is taught by a frozen vision network."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.v2.functional import to_pil_image
from torchvision.utils import make_grid

from vkd.baselines import PROJECTIONS
from vkd.config import GenerationConfig
from vkd.data import loader
from vkd.data.generation import GenerationSplits, read_generation
from vkd.errors import UserError
from vkd.generation.augmentation import diff_augment
from vkd.generation.metrics import NAMES, Seen, generation_metrics, look_at
from vkd.generation.vision import INCEPTION, extractor_of, frozen_network
from vkd.loss import FeatureLoss
from vkd.models import create_model, read_metadata
from vkd.models.biggan import SIDE, Discriminator, Generator
from vkd.normalization import Normalization, whitening_of
from vkd.reporting.model_card import model_facts
from vkd.tasks.projections import saved_projection
from vkd.teacher import Teacher
from vkd.training.task import Task, Turn

# A hinge loss is of the order of one; nothing comes back from a thousand.
_EXPLODING = 1e3
_GRID = 8


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
            known = self.teacher(seen, indices).features
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
            teacher = self._teacher()
            example = teacher(torch.zeros(2, channels, SIDE, SIDE))
            taught = {"teacher": teacher, "teacher_dim": example.features.shape[1]}
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
        known = [teacher(part[0].to(device), part[2]).features for part in batches]
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
            self._real = _look_at_real(self._extractor, self.splits.validation)
        made = look_at_made(
            self._extractor, model, self.model, self.config.samples, accelerator
        )  # fmt: skip
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


make_task = GenerationTask


def read_splits(config: GenerationConfig) -> GenerationSplits:
    """Return the data of a recipe; see ``read_generation``."""
    return read_generation(
        config.dataset, config.data_path, config.fraction, config.subset_seed, config.flip
    )


def generator_facts(model: Generator) -> dict[str, float]:
    """Return parameters and multiply-adds of a generator."""
    device = next(model.parameters()).device
    label = torch.zeros(1, dtype=torch.long, device=device)
    return model_facts(model, torch.zeros(1, model.noise_dim, device=device), label)


def _look_at_real(extractor: Any, images: Dataset) -> Seen:
    batches = [part for part in loader(images, 500) if len(part[0])]
    whole, labels = (torch.cat([part[i] for part in batches]) for i in (0, 1))
    return look_at(extractor, whole[labels >= 0], labels[labels >= 0])


@torch.no_grad()
def look_at_made(
    extractor: Any, network: nn.Module, generator: Generator, count: int, accelerator: Accelerator
) -> Seen:
    """Return what an extractor says of ``count`` made images, always of the same noise.

    Classes take turns. Each process makes a part, and all get the whole.

    Args:
        extractor: see ``vkd.generation.vision``.
        network: called with noise and labels.
        generator: the same without wrappers, which draws the noise.
        count: images.
        accelerator: of the processes.
    """
    network.eval()
    device, share = accelerator.device, -(-count // accelerator.num_processes)
    noise = generator.draw(count, torch.Generator().manual_seed(0))
    labels = torch.arange(count) % generator.num_classes
    mine = torch.arange(share) + share * accelerator.process_index
    mine = mine.clamp(max=count - 1)
    parts = []
    for chosen in mine.split(250):
        images = network(noise[chosen].to(device), labels[chosen].to(device)).float()
        parts.append(look_at(extractor, images, labels[chosen]))
    seen = [torch.cat([getattr(p, name) for p in parts]) for name in ("features", "logits")]
    if accelerator.num_processes > 1:
        seen = [accelerator.gather(part.to(device)).cpu() for part in seen]
    return Seen(seen[0][:count], seen[1][:count], labels)


def grid(images: Tensor, columns: int) -> Image.Image:
    """Return images (N, C, H, W) in -1..1 as one picture."""
    return to_pil_image(make_grid((images + 1) / 2, columns, padding=1, pad_value=1.0).clamp(0, 1))


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
    real = _look_at_real(extractor, read_splits(config).test)
    return generation_metrics(real, made, config.extractor) | facts


def predict(
    config: GenerationConfig,
    checkpoint: str,
    images: list[str],
    output: str = "samples.png",
    classes: str = "",
    count: int = 8,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Make images, as one picture with a row for each class, or as files in a folder.

    Args:
        config: the recipe that the checkpoint belongs to.
        checkpoint: weights file or run folder.
        images: none, as there is nothing to look at.
        output: new ``.png`` file, or folder.
        classes: names or numbers with commas between; all when empty.
        count: images of each class.
        seed: of the noise.

    Returns:
        A record for each file: its path and classes.

    Raises:
        UserError: for an unknown class, or if a file is there already.
    """
    if images:
        raise UserError(f"IMAGE has no meaning for a generator, found {images[0]}.")
    target = Path(output)
    if target.exists():
        raise UserError(f"--output {target} exists already; name a new file or folder.")
    model = create_model(config.model, checkpoint).eval()
    assert isinstance(model, Generator)
    known = json.loads(read_metadata(checkpoint).get("classes", "null"))
    names = known or [str(label) for label in range(model.num_classes)]
    chosen = _chosen(classes, names)
    labels = torch.tensor(chosen).repeat_interleave(count)
    noise = model.draw(len(labels), torch.Generator().manual_seed(seed))
    with torch.no_grad():
        parts = zip(noise.split(250), labels.split(250), strict=True)
        made = torch.cat([model(*part) for part in parts])
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.suffix == ".png":
        grid(made, count).save(target)
        return [{"image": str(target), "classes": [names[label] for label in chosen]}]
    target.mkdir()
    records = []
    for index, (image, label) in enumerate(zip(made, labels.tolist(), strict=True)):
        file = target / f"{label:03d}-{index % count:05d}.png"
        to_pil_image(((image + 1) / 2).clamp(0, 1)).save(file)
        records.append({"image": str(file), "class": names[label]})
    return records


def _chosen(classes: str, names: list[str]) -> list[int]:
    if not classes:
        return list(range(len(names)))
    chosen = []
    for word in classes.split(","):
        if word in names:
            chosen.append(names.index(word))
        elif word.isdecimal() and int(word) < len(names):
            chosen.append(int(word))
        else:
            raise UserError(f"--classes has no class {word!r}; there are {', '.join(names[:20])}.")
    return chosen


def exported(
    config: GenerationConfig, checkpoint: str, size: tuple[int, int]
) -> tuple[nn.Module, dict[str, Tensor], list[str]]:
    """Return the generator, an example of its inputs, and its output's name."""
    model = create_model(config.model, checkpoint)
    assert isinstance(model, Generator)
    inputs = {"noise": torch.zeros(2, model.noise_dim), "labels": torch.zeros(2, dtype=torch.long)}
    return model, inputs, ["images"]
