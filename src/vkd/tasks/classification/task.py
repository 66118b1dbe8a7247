"""Classification as the trainer sees it, and its metrics."""

import json
import time
from typing import Any

import timm
import torch
from accelerate import Accelerator
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.data.distributed_sampler import RepeatAugSampler
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Sampler
from torchmetrics.functional.classification import multiclass_stat_scores

from vkd.config import ClassificationConfig
from vkd.data import READERS, Splits, loader, read_small
from vkd.data.photographs import read_photographs
from vkd.data.transforms import evaluation_transform, training_transform
from vkd.data.views import Views, ViewSampler
from vkd.errors import UserError
from vkd.models import create_model
from vkd.reporting.model_card import model_facts
from vkd.store import DiskTeacher
from vkd.tasks.classification.module import ClassificationModule
from vkd.tasks.classification.teachers import teacher_of
from vkd.tasks.projections import saved_projection
from vkd.training.task import Task, Turn


class ClassificationTask(Task):
    """Binds student, teacher, images and accuracy; see ``Task``.

    Args:
        config: the recipe, with ``teacher_checkpoint`` set where it has a teacher.

    Raises:
        UserError: if there are no images to train on, or the teacher does not suit them.
    """

    metric = "accuracy"

    def __init__(self, config: ClassificationConfig) -> None:
        self.config = config
        self.splits = read_splits(config)
        if self.splits.train is None:
            raise UserError(f"--data-path {config.data_path} has no folder train.")
        self.model = create_model(
            config.student, **student_shape(config, self.splits.shape, len(self.splits.classes))
        )
        example = torch.zeros(2, *self.splits.shape)
        teacher = teacher_of(config, self.model, self.splits, example)
        self.images: Dataset = self.splits.train
        if isinstance(teacher, DiskTeacher):
            known = teacher.description
            self.images = Views(self.splits.train, known.views, known.seed)
        self.module = ClassificationModule(
            self.model, config, teacher, example, len(self.splits.classes)
        )
        self.turns = [Turn(self.module)]

    def facts(self) -> dict[str, float]:
        """Sizes of the model."""
        return model_facts(self.model, torch.zeros(1, *self.splits.shape))

    def train_loader(self) -> DataLoader:
        """Shuffled batches of the training split."""
        config = self.config
        return loader(
            self.images,
            config.batch_size,
            shuffle=True,
            workers=config.workers,
            drop_last=True,
            sampler=self._sampler(),
        )

    def _sampler(self) -> Sampler | None:
        if isinstance(self.images, Views):
            return ViewSampler(self.images, self.config.seed)
        repeats = self.config.repeated_augmentation
        if repeats == 1:
            return None
        # Repeated augmentation (Hoffer et al. 2020): so many views of a part of the images.
        return RepeatAugSampler(self.images, 1, 0, num_repeats=repeats, selected_round=0)

    def validation_loader(self) -> DataLoader:
        """Batches of the validation split."""
        return evaluation_loader(self.config, self.splits.validation)

    def evaluate(
        self, model: nn.Module, batches: DataLoader, accelerator: Accelerator
    ) -> dict[str, float]:
        """Return top-1 ``accuracy``, ``top5`` (in %) and cross-entropy ``loss``."""
        return evaluate_classifier(model, batches, accelerator)

    def metadata(self) -> dict[str, str]:
        """What using the weights needs to know: class names and how images are prepared."""
        splits = self.splits
        inputs = {"mean": splits.mean, "std": splits.std, "shape": splits.shape}
        return {"classes": json.dumps(splits.classes), "inputs": json.dumps(inputs)}

    def extra_state(self, state: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """The projection's weight, for the report."""
        return saved_projection(state, "network.loss.projection.")


def student_shape(
    config: ClassificationConfig, image: tuple[int, int, int], num_classes: int
) -> dict[str, Any]:
    """Return the keyword arguments that fit the student to images (C, H, W) in so many classes."""
    channels, height, _ = image
    shape: dict[str, Any] = {"num_classes": num_classes, "in_chans": channels}
    known = timm.models.get_pretrained_cfg(config.student, allow_unregistered=True)
    if known is not None and known.fixed_input_size and known.input_size[1] != height:
        shape["img_size"] = height
    if config.drop_path:
        shape["drop_path_rate"] = config.drop_path
    return shape


def evaluation_loader(config: ClassificationConfig, images: Any) -> DataLoader:
    """Batches to evaluate on, in order."""
    return loader(images, max(config.batch_size, 256), workers=config.workers)


@torch.no_grad()
def evaluate_classifier(
    model: nn.Module, batches: DataLoader, accelerator: Accelerator
) -> dict[str, float]:
    """Return top-1 ``accuracy`` and ``top5`` in % and the mean cross-entropy ``loss``.

    Every image counts once, on any number of processes; the label -1 does not count. Where there
    are any such, ``skipped`` tells how many.
    """
    model.eval()
    totals = torch.zeros(5, dtype=torch.float64, device=_wide(accelerator.device))
    for images, labels, _ in batches:
        with accelerator.autocast():
            logits = model(images).float()
        logits, labels = accelerator.gather_for_metrics((logits, labels))
        valid = labels >= 0
        totals[4] += len(labels) - valid.sum()
        logits, labels = logits[valid], labels[valid]
        if len(labels):
            totals[0] += _hits(logits, labels, 1)
            totals[1] += _hits(logits, labels, min(5, logits.shape[1]))
            totals[2] += F.cross_entropy(logits, labels, reduction="sum")
            totals[3] += len(labels)
    top1, top5, loss, count, skipped = totals.tolist()
    if not count:
        raise UserError("None of the images to evaluate on could be read.")
    metrics = {"accuracy": 100 * top1 / count, "top5": 100 * top5 / count, "loss": loss / count}
    return metrics | ({"skipped": skipped} if skipped else {})


def _wide(device: torch.device) -> torch.device:
    """The device, or the CPU where it has no float64."""
    return torch.device("cpu") if device.type == "mps" else device


def _hits(logits: Tensor, labels: Tensor, top_k: int) -> Tensor:
    scores = multiclass_stat_scores(
        logits, labels, num_classes=logits.shape[1], top_k=top_k, average="micro"
    )
    return scores[0]


def read_splits(config: ClassificationConfig) -> Splits:
    """Return the data of a recipe.

    Raises:
        UserError: if they are not where the recipe says.
    """
    if config.dataset in READERS:
        return read_small(
            config.dataset,
            config.data_path,
            config.crop_padding,
            config.flip,
            config.train_fraction,
        )
    size = config.input_size
    train, validation, classes = read_photographs(
        config.dataset,
        config.data_path,
        training_transform(size, config.augmentation, config.color_jitter, config.flip),
        evaluation_transform(size),
        config.max_corrupt,
    )
    return Splits(
        train,
        validation,
        validation,
        IMAGENET_DEFAULT_MEAN,
        IMAGENET_DEFAULT_STD,
        (3, size, size),
        classes,
    )


def evaluate(
    config: ClassificationConfig, checkpoint: str, accelerator: Accelerator
) -> dict[str, float]:
    """Return the test metrics of a checkpoint, a weights file or run folder, and its sizes.

    Raises:
        UserError: if it does not fit the recipe's model.
    """
    splits = read_splits(config)
    model = create_model(
        config.student, checkpoint, **student_shape(config, splits.shape, len(splits.classes))
    )
    facts = model_facts(model, torch.zeros(1, *splits.shape))
    batches = evaluation_loader(config, splits.test)
    model, batches = accelerator.prepare(model, batches)
    began = time.perf_counter()
    metrics = evaluate_classifier(model, batches, accelerator)
    speed = len(splits.test) / (time.perf_counter() - began)  # type: ignore[arg-type]
    return metrics | facts | {"images_per_second": speed}
