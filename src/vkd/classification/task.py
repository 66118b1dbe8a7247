"""Classification as the trainer sees it, and its metrics."""

import json
from collections.abc import Callable, Mapping, Sequence, Sized
from functools import partial
from typing import Any, cast

import torch
from accelerate import Accelerator, PartialState
from timm.data.distributed_sampler import RepeatAugSampler
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Sampler, Subset

from vkd.classification.config import ClassificationConfig
from vkd.classification.data import read_splits, student_format
from vkd.classification.distillation import Distillation, distillation_of
from vkd.classification.mistakes import Answers
from vkd.classification.mixing import PairMixing
from vkd.classification.module import ClassificationModule
from vkd.classification.names import UNKNOWN
from vkd.classification.similarity import similarities_of
from vkd.classification.teachers import network_of, pair_mixing, teacher_of
from vkd.data.description import as_picture
from vkd.data.fingerprint import training_fingerprint
from vkd.data.images import Splits, loader
from vkd.data.sample_names import sample_names
from vkd.data.views import Views, ViewSampler
from vkd.data.workers import Repeats
from vkd.errors import FieldError, as_user_error, reason_of
from vkd.methods.method import Method
from vkd.models.cost import model_cost
from vkd.models.factory import create_model, fitting_options
from vkd.models.start import start_from
from vkd.notes import say
from vkd.store.fitting import source_of, views_of
from vkd.store.teacher import DiskTeacher, Stored
from vkd.teacher import NetworkTeacher
from vkd.training.findings import Finding
from vkd.training.reading import read
from vkd.training.similarities import Similarities
from vkd.training.task import Evaluated, Objects, OptimizerStep, Predict, Task


class ClassificationTask(Task):
    """Binds student, teacher, images and accuracy; see ``Task``.

    Args:
        config: the recipe, with ``teacher_checkpoint`` set where it has a teacher.
        objects: what takes the place of names in the recipe.

    Raises:
        UserError: if there are no images to train on, or the teacher does not suit them.
    """

    metric = "accuracy"

    def __init__(self, config: ClassificationConfig, objects: Objects | None = None) -> None:
        objects = objects or Objects()
        self.config = config
        self.splits = training_splits(config, objects)
        self.example = torch.zeros(2, *self.splits.shape)
        self.images = cast(Dataset, self.splits.train)
        self._step_teacher: NetworkTeacher | None = None
        student = objects.student or create_student(config, self.splits)
        _check_images(student, config.student, self.example, len(self.splits.classes))
        if config.student_checkpoint:
            with as_user_error("student_checkpoint"):
                start_from(student, config.student, config.student_checkpoint)
        self._companion: Callable[[Tensor], Stored] | None = None
        distillation = self._distillation(student, objects) if config.needs_teacher else None
        labelled = self._labelled()
        if labelled is not None and distillation is None:
            self.images = Subset(self.images, labelled.nonzero()[:, 0].tolist())
            labelled = None
        module = ClassificationModule(
            student, config, len(self.splits.classes), distillation, self.splits.augmentation,
            labelled,
        )  # fmt: skip
        self.steps = [OptimizerStep(module)]
        self._answers = Answers()

    def _labelled(self) -> Tensor | None:
        """Which training images have a label, and say how many; None where all have."""
        share, images = self.config.label_fraction, len(cast(Sized, self.splits.train))
        if share == 1:
            return None
        count = max(1, round(share * images))
        say("label_fraction", [f"{count:,} of {images:,} training images have a label"])
        random = torch.Generator().manual_seed(self.config.seed)
        return torch.randperm(images, generator=random) < count

    def _distillation(self, student: nn.Module, objects: Objects) -> Distillation:
        samples = len(cast(Sized, self.splits.train))
        teacher, sizes = teacher_of(self.config, self.splits, self.example, objects)
        if teacher is not objects.teacher:
            self._step_teacher = network_of(teacher)
        if isinstance(teacher, DiskTeacher):
            stored = teacher.description
            self.images = views_of(self.config.teacher_store, self.splits.train, stored)
            mixing = pair_mixing(self.config, self.splits, stored)
            self._companion = partial(_stored, teacher, mixing)
        return distillation_of(self.config, student, teacher, sizes, samples, self.example, objects)

    def step_teacher(self) -> NetworkTeacher | None:
        """Return the teacher, where it is a network that no stored outputs replace."""
        return self._step_teacher

    def cost(self) -> dict[str, float]:
        """Return parameters and multiply-adds of the student."""
        return model_cost(self.model, self.example[:1])

    def train_loader(self) -> DataLoader:
        """Return shuffled batches of the training split."""
        config = self.config
        return loader(
            self.images,
            config.batch_size,
            shuffle=True,
            workers=config.workers,
            drop_last=True,
            sampler=self._sampler(),
            classes=len(self.splits.classes),
            pin_memory=config.pins_memory,
            companion=self._companion,
        )

    def _sampler(self) -> Sampler | None:
        if isinstance(self.images, Views):
            return ViewSampler(self.images, self.config.seed)
        repeats = self.config.repeated_augmentation
        if repeats == 1:
            return None
        # Repeated augmentation (Hoffer et al. 2020): so many views of a part of the images.
        sampler = RepeatAugSampler(self.images, 1, 0, num_repeats=repeats, selected_round=0)
        return Repeats(sampler, len(cast(Sized, self.images)))

    def validation_loader(self) -> DataLoader:
        """Return batches of the validation split."""
        return evaluation_loader(self.config, self.splits.validation, self.splits.classes)

    def evaluate(
        self, predict: Predict, batches: DataLoader, accelerator: Accelerator
    ) -> dict[str, float]:
        """Return top-1 ``accuracy``, ``top5`` (in %) and cross-entropy ``loss``."""
        self._answers = Answers()
        return evaluate_classifier(predict, batches, accelerator, answers=self._answers)

    def sample_ids(self, batch: Any) -> Tensor:
        """Return the indices (N,) of a batch's images."""
        return cast(Tensor, batch[2])

    def sample_names(self, ids: Sequence[int]) -> list[str]:
        """Return the names of training images; see ``vkd.data.sample_names``."""
        return sample_names(ids, self.splits.readers, self.images)

    def similarities(self, model: Evaluated) -> Similarities:
        """Return how like the student's features are to the teacher's, where it has one."""
        module = cast(ClassificationModule, self.steps[0].module)
        if module.distillation is None:
            return Similarities(reason="the student is trained alone")
        return similarities_of(
            self.config, self.splits, self.images, module.distillation, module.student, model
        )

    def findings(self, model: Evaluated) -> list[Finding]:
        """Return the confusion matrix and the worst mistakes of the last evaluation."""
        images: Any = self.splits.validation
        return self._answers.findings(
            self.splits.classes, lambda index: as_picture(images[index][0], self.splits.format)
        )

    def metadata(self) -> dict[str, str]:
        """Return what using the weights needs to know: classes and how images are prepared."""
        inputs = self.splits.format.as_dict() | {"shape": self.splits.shape}
        return {"classes": json.dumps(self.splits.classes), "inputs": json.dumps(inputs)}

    def sources(self) -> dict[str, str]:
        """Return a digest of the training pictures, and of the store of the teacher's outputs."""
        found = {"data_path": training_fingerprint(self.splits, with_contents=False).listing}
        if self.config.teacher_store and self.config.needs_teacher:
            found["teacher_store"] = source_of(self.config.teacher_store)
        return found

    def reading_advice(self) -> list[str]:
        """Return augmentation on the device, where there is one beside the CPU and it is off."""
        config, device = self.config, PartialState().device.type
        is_possible = config.augments and not config.augment_on_device and device != "cpu"
        return ["augmentation on the device (--augment-on-device)"] if is_possible else []

    def take_projections(self, projections: Mapping[str, Tensor]) -> dict[str, str]:
        """Take over the matrix ``weight`` (teacher_dim, student_dim), where there is one."""
        method = self._feature_method
        if method is None or "weight" not in projections:
            return {}
        taken = method.load_projection({"projection": projections["weight"]})
        return {"weight": f"methods.feature.{taken['projection']}"} if taken else {}

    @property
    def _feature_method(self) -> Method | None:
        module = cast(ClassificationModule, self.steps[0].module)
        method = dict(module.methods.items()).get("feature")
        return method if isinstance(method, Method) else None

    def extra_tensors(self, states: list[dict[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
        """Return the weight of the feature method's projection, for the report."""
        method = self._feature_method
        if method is None:
            return {}
        module = self.steps[0].module
        return method.saved_projection(module.state_of("methods.feature", states[0]))


def _stored(teacher: DiskTeacher, mixing: PairMixing | None, rows: Tensor) -> Stored:
    """What a store adds to a batch of ``rows`` (N,)."""
    found = teacher.stored(rows)
    return found if mixing is None else found._replace(mixing=mixing(rows))


def training_splits(config: ClassificationConfig, objects: Objects) -> Splits:
    """Return the data of a recipe, which must hold images to train on, of two classes or more.

    Raises:
        UserError: if they do not.
    """
    splits = objects.data or read_splits(config, student_format(config, objects.student))
    if splits.train is None:
        raise FieldError("data_path", f"{config.data_path} has no training split, such as train.")
    check_classes(splits)
    return splits


def check_classes(splits: Splits) -> None:
    """Raise ``FieldError`` for images that are all of one class."""
    if len(splits.classes) < 2:
        raise FieldError(
            "data_path",
            f": the training images are all of one class ({', '.join(splits.classes)}); a "
            "classifier needs two or more.",
        )


def create_student(config: ClassificationConfig, splits: Splits) -> nn.Module:
    """Return the student of a recipe, for its images and classes."""
    options = fitting_options(config.student, splits.shape, len(splits.classes))
    if config.drop_path:
        options["drop_path_rate"] = config.drop_path
    return create_model(config.student, **options)


@torch.no_grad()
def _check_images(student: nn.Module, name: str, example: Tensor, classes: int) -> None:
    """Raise ``FieldError`` for a student that does not take images like ``example``, or has fewer
    outputs than there are ``classes``."""
    training = student.training
    try:
        logits = student.eval()(example)
    except (AssertionError, IndexError, RuntimeError, TypeError, ValueError) as error:
        shape = " x ".join(map(str, example.shape[1:]))
        raise FieldError(
            "student", f": {name} does not take images of {shape}: {reason_of(error)}."
        ) from error
    if isinstance(logits, Tensor) and logits.ndim == 2 and logits.shape[1] < classes:
        raise FieldError(
            "student", f"has {logits.shape[1]} outputs, and the data have {classes} classes."
        )
    student.train(training)


def evaluation_loader(
    config: ClassificationConfig, images: Dataset, classes: list[str]
) -> DataLoader:
    """Return batches to evaluate on, in order, of images of ``classes``."""
    size = max(config.batch_size, 256)
    return loader(
        images, size, workers=config.workers, pin_memory=config.pins_memory,
        classes=len(classes), lowest=-1,
    )  # fmt: skip


@torch.no_grad()
def evaluate_classifier(
    predict: Predict,
    batches: DataLoader,
    accelerator: Accelerator,
    places: Tensor | None = None,
    answers: Answers | None = None,
) -> dict[str, float]:
    """Return top-1 ``accuracy`` and ``top5`` in % and the mean cross-entropy ``loss``.

    Every image counts once, on any number of processes; labels below 0 do not count. Where there
    are any such, ``skipped`` is the number of images that could not be read (-1), and ``unknown``
    that of images whose class the classifier does not know (``UNKNOWN``).

    Args:
        predict: the classifier.
        batches: images, labels and indices.
        accelerator: of the processes.
        places: the output that each label is; None where they are the same.
        answers: takes those of every image that counts; None where they are not kept.
    """
    totals = torch.zeros(6, dtype=torch.float64, device=_float64_device(accelerator.device))
    for images, labels, indices in read(batches):
        with accelerator.autocast():
            logits = predict(images).float()
        logits, labels, indices = accelerator.gather_for_metrics((logits, labels, indices))
        if places is not None:
            labels = torch.where(labels < 0, labels, places.to(labels.device)[labels.clamp(min=0)])
        valid = labels >= 0
        totals[4] += (labels == -1).sum()
        totals[5] += (labels == UNKNOWN).sum()
        logits, labels = logits[valid], labels[valid]
        if len(labels):
            totals[0] += _hits(logits, labels, 1)
            totals[1] += _hits(logits, labels, min(5, logits.shape[1]))
            totals[2] += F.cross_entropy(logits, labels, reduction="sum")
            totals[3] += len(labels)
            if answers is not None:
                answers.add(logits, labels, indices[valid])
    top1, top5, loss, count, skipped, unknown = totals.tolist()
    if not count:
        raise FieldError("data_path", "has no image to evaluate on that could be read.")
    metrics = {"accuracy": 100 * top1 / count, "top5": 100 * top5 / count, "loss": loss / count}
    uncounted = {"skipped": skipped, "unknown": unknown}
    return metrics | {name: number for name, number in uncounted.items() if number}


def _float64_device(device: torch.device) -> torch.device:
    """The device, or the CPU where it has no float64."""
    return torch.device("cpu") if device.type == "mps" else device


def _hits(logits: Tensor, labels: Tensor, top_k: int) -> Tensor:
    """How many labels are among the ``top_k`` largest logits."""
    # By hand, as importing torchmetrics would cost each process seconds for this line.
    return (logits.topk(top_k).indices == labels[:, None]).sum()
