"""Generation as the trainer sees it, and its metrics."""

import json
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from accelerate import Accelerator, PartialState
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from vkd.data.fingerprint import training_fingerprint
from vkd.data.images import loader
from vkd.data.sample_names import sample_names
from vkd.data.views import Views, ViewSampler
from vkd.errors import FieldError, UserError, as_user_error
from vkd.generation.config import GenerationConfig
from vkd.generation.data import GenerationSplits, read_splits
from vkd.generation.extractors import extract_generated, extract_real, extractor_of
from vkd.generation.metrics import ExtractorOutput, generation_metrics, metric_names
from vkd.generation.module import DiscriminatorModule, GeneratorModule
from vkd.generation.pictures import grid
from vkd.generation.similarity import similarities_of
from vkd.generation.teachers import network_teacher, store_contents
from vkd.methods.build import build_method, check_signals
from vkd.methods.method import Method, Signals, Sizes
from vkd.models.biggan import SIDE, Discriminator, Generator
from vkd.models.cost import model_cost
from vkd.models.factory import create_model
from vkd.models.start import start_from
from vkd.normalization import Normalization, ledoit_wolf, whitening_of
from vkd.store.fitting import fitting_store, source_of, views_of
from vkd.store.teacher import DiskTeacher, Stored
from vkd.teacher import NetworkTeacher, StoredTeacher, Teacher, widths_of
from vkd.training.reading import read
from vkd.training.similarities import Similarities
from vkd.training.task import Evaluated, Objects, OptimizerStep, Predict, Task

# A hinge loss is of the order of one; nothing comes back from a thousand.
_EXPLODING = 1e3
_GRID = 8


class GenerationTask(Task):
    """Binds generator, discriminator, teacher, images and metrics; see ``Task``.

    Args:
        config: the recipe, with the checkpoints of teacher and extractor set where it has them.
        objects: what takes the place of names in the recipe; ``data`` are ``GenerationSplits``,
            the student is a ``Generator``.

    Raises:
        UserError: if data or weights are not there or do not fit.
    """

    def __init__(self, config: GenerationConfig, objects: Objects | None = None) -> None:
        objects = objects or Objects()
        self.config = config
        self.metric = metric_names(config.extractor).distance
        self.splits: GenerationSplits = objects.data or read_splits(config)
        classes, channels = len(self.splits.classes), self.splits.channels
        generator = objects.student or _generator(config, classes, channels)
        if not isinstance(generator, Generator):
            raise FieldError("student", f"{config.student} is no generator of `vkd models`.")
        if config.student_checkpoint:
            with as_user_error("student_checkpoint"):
                start_from(generator, config.student, config.student_checkpoint)
        self.generator = generator
        discriminator = Discriminator(classes, channels, config.channels)
        if config.channels_last:
            generator.to(memory_format=torch.channels_last)
            discriminator.to(memory_format=torch.channels_last)
        self.images: Dataset = self.splits.train
        self._companion: Callable[[Tensor], Stored] | None = None
        teacher, method = None, None
        self._step_teacher: NetworkTeacher | None = None
        if config.feature_weight:
            teacher = self._teacher(objects)
            method = self._method(teacher, discriminator.width, objects)
        self.steps = [
            OptimizerStep(
                GeneratorModule(generator, discriminator, config), config.generator_every
            ),
            OptimizerStep(
                DiscriminatorModule(
                    discriminator, generator, config, teacher, method, len(self.splits.train)
                )
            ),
        ]
        self._extractor = extractor_of(config.extractor, config.extractor_checkpoint, channels)
        self._real: ExtractorOutput | None = None
        self._most_diverse = 0.0

    def _teacher(self, objects: Objects) -> Teacher:
        config = self.config
        if config.teacher_store:
            config.require_unread({"teacher_precision"}, "teacher_store")
            return self._stored_teacher()
        if objects.teacher is not None and not isinstance(objects.teacher, nn.Module):
            config.require_unread({"teacher_precision"}, "a teacher that is no network")
            return objects.teacher
        network = network_teacher(config, self.splits, objects.teacher)
        if config.compile:
            network.model.compile()
        self._step_teacher = network
        return network

    def _stored_teacher(self) -> DiskTeacher:
        folder = self.config.teacher_store
        teacher = fitting_store(store_contents(self.config, self.splits))
        self.images = views_of(folder, self.splits.train, teacher.description)
        self._companion = teacher.stored
        return teacher

    def _method(self, teacher: Teacher, width: int, objects: Objects) -> nn.Module:
        config = self.config
        with as_user_error("teacher_layer"):
            if isinstance(teacher, StoredTeacher):
                widths = teacher.widths
            else:
                example = torch.zeros(2, self.splits.channels, SIDE, SIDE)
                widths, _ = widths_of(teacher(example))
            (teacher_dim,) = widths.values()
        sizes = Sizes(
            student_dim=width,
            teacher_dim=teacher_dim,
            samples=int(self.splits.indices.max()) + 1,
        )
        if objects.loss is not None:
            return objects.loss(sizes)
        check_method(config)
        values = config.method_values() | {
            "normalization": self._normalization(teacher),
            # The other way to normalise the student's side.
            "standardize_student": not config.method_options.get("both_sides"),
        }
        with as_user_error("method_options"):
            return build_method(config.method, sizes, config.method_options, values)

    def _normalization(self, teacher: Teacher) -> str | Normalization:
        config = self.config
        if config.normalization != "whiten" or config.whitening == "batch":
            return config.normalization
        device = PartialState().device
        if isinstance(teacher, DiskTeacher):
            rows = torch.arange(teacher.description.rows_per_view)
            parts = [teacher.stored(part).output.only for part in rows.split(250)]
        else:
            batches = read(loader(self.splits.train, 250, classes=len(self.splits.classes)))
            parts = [teacher(part[0].to(device), part[2]).only for part in batches]
        features = torch.cat(parts).to(device)
        shrinkage = ledoit_wolf(features) if config.whitening == "shrunk" else 0.0
        return whitening_of(features, shrinkage=shrinkage)

    def step_teacher(self) -> NetworkTeacher | None:
        """Return the teacher, where it is a network."""
        return self._step_teacher

    def cost(self) -> dict[str, float]:
        """Return parameters and multiply-adds of the generator."""
        return generator_cost(self.generator)

    def train_loader(self) -> DataLoader:
        """Return shuffled batches of the training images."""
        config, images = self.config, self.images
        sampler = ViewSampler(images, config.seed) if isinstance(images, Views) else None
        return loader(
            images, config.batch_size, shuffle=True, workers=config.workers, sampler=sampler,
            drop_last=True, pin_memory=config.pins_memory,
            classes=len(self.splits.classes), companion=self._companion,
        )  # fmt: skip

    def validation_loader(self) -> DataLoader:
        """Return batches of real images to measure with."""
        config = self.config
        return loader(
            self.splits.validation, 500, workers=config.workers, pin_memory=config.pins_memory,
            classes=len(self.splits.classes), lowest=-1,
        )  # fmt: skip

    def evaluate(
        self, predict: Predict, batches: DataLoader, accelerator: Accelerator
    ) -> dict[str, float]:
        """Return the metrics of ``vkd.generation.metrics``."""
        if self._real is None:
            self._real = extract_real(
                self._extractor, self.splits.validation, len(self.splits.classes), accelerator
            )
        generated = extract_generated(
            self._extractor, predict, self.generator, self.config.samples, accelerator
        )
        return generation_metrics(self._real, generated, self.config.extractor)

    def sample_ids(self, batch: Any) -> Tensor:
        """Return the indices (N,) of a batch's images."""
        return cast(Tensor, batch[2])

    def sample_names(self, ids: Sequence[int]) -> list[str]:
        """Return the names of training images; see ``vkd.data.sample_names``."""
        return sample_names(ids, self.splits.readers, self.images)

    @torch.no_grad()
    def sample_image(self, predict: Predict, device: torch.device) -> Image.Image:
        """Return a grid of generated images, a row for each of the first classes."""
        rows = min(_GRID, self.generator.num_classes)
        labels = torch.arange(rows).repeat_interleave(_GRID)
        noise = self.generator.draw(len(labels), torch.Generator().manual_seed(0))
        return grid(predict(noise.to(device), labels.to(device)).float().cpu(), _GRID)

    def similarities(self, model: Evaluated) -> Similarities:
        """Return how like the discriminator's features are to the teacher's, where it has one."""
        module = cast(DiscriminatorModule, self.steps[1].module)
        validation = self.splits.validation
        return similarities_of(module, self.images, validation, self.config.epochs, model)

    def metadata(self) -> dict[str, str]:
        """Return what using the weights needs to know: names of classes, and the extractor."""
        return {"classes": json.dumps(self.splits.classes), "extractor": self.config.extractor}

    def sources(self) -> dict[str, str]:
        """Return digests of the training pictures, where they are files, and of a store."""
        found = {"data_path": training_fingerprint(self.splits, with_contents=False).listing}
        if self.config.teacher_store and self.config.needs_teacher:
            found["teacher_store"] = source_of(self.config.teacher_store)
        return found

    def extra_tensors(self, states: list[dict[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
        """Return the projection's weight, and which images were trained on."""
        module = cast(DiscriminatorModule, self.steps[1].module)
        found = {"subset": {"indices": self.splits.indices}}
        if isinstance(module.method, Method):
            found |= module.method.saved_projection(module.state_of("method", states[1]))
        return found

    def check_health(self, terms: dict[str, float], metrics: dict[str, float]) -> str:
        """Return exploding losses, or a generator whose images of a class became nearly the same.

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

    def progress(self) -> dict[str, float]:
        """Return the largest diversity so far."""
        return {"most_diverse": self._most_diverse}

    def resume(self, progress: dict[str, float]) -> None:
        """Take back the largest diversity; states of earlier versions lack it."""
        self._most_diverse = progress.get("most_diverse", 0.0)


def check_method(config: GenerationConfig) -> None:
    """Raise ``UserError`` for a method that cannot compare a discriminator's features."""
    available = set(Signals._fields) - {"student_logits", "teacher_logits"}
    if config.needs_teacher:
        with as_user_error("method"):
            check_signals(config.method, available, "discriminators")


def _generator(config: GenerationConfig, classes: int, channels: int) -> nn.Module:
    try:
        return create_model(
            config.student,
            num_classes=classes,
            in_chans=channels,
            channels=config.channels,
            noise_dim=config.noise_dim,
        )
    except UserError as error:
        raise FieldError("student", f": {error}") from None


def generator_cost(model: Generator) -> dict[str, float]:
    """Return parameters and multiply-adds of a generator."""
    return model_cost(model, torch.zeros(1, model.noise_dim), torch.zeros(1, dtype=torch.long))
