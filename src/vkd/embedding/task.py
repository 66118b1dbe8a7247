"""Image embedding as the trainer sees it."""

import json
from collections.abc import Sequence, Sized
from typing import Any, cast

import torch
from accelerate import Accelerator, PartialState
from torch import Tensor, nn
from torch.utils.data import DataLoader

from vkd.data.fingerprint import training_fingerprint
from vkd.data.images import Splits, loader
from vkd.data.sample_names import sample_names
from vkd.distiller import Distiller, Pair
from vkd.embedding.config import EmbeddingConfig
from vkd.embedding.data import Probe, read_probe, read_splits, student_format
from vkd.embedding.distillation import distiller_of, saved_projections
from vkd.embedding.embedder import width_of
from vkd.embedding.evaluation import Evaluation
from vkd.embedding.measures import require_measurable
from vkd.embedding.module import EmbeddingModule
from vkd.embedding.neighbours import Compared, compared, neighbours_of, similarities_of
from vkd.embedding.projections import FILE
from vkd.embedding.teachers import ChosenTeacher, SharedPrecision, teachers_of
from vkd.errors import FieldError, as_user_error, reason_of
from vkd.features import probing
from vkd.models.cost import model_cost
from vkd.models.factory import create_model, fitting_options
from vkd.models.start import start_from
from vkd.notes import say
from vkd.precision import HasPrecision
from vkd.teacher import NetworkTeacher
from vkd.training.findings import Finding
from vkd.training.similarities import Similarities
from vkd.training.task import Evaluated, Objects, OptimizerStep, Predict, Task


class EmbeddingTask(Task):
    """Binds student, teachers, pictures and measures; see ``Task``.

    Args:
        config: the recipe, with ``teacher_checkpoint`` set where it has a teacher.
        objects: what takes the place of names in the recipe.

    Raises:
        UserError: if there are no pictures to train on, or student or teachers do not suit them.
    """

    def __init__(self, config: EmbeddingConfig, objects: Objects | None = None) -> None:
        objects = objects or Objects()
        self.config = config
        self.metric = "knn" if config.is_measured_by_labels else "cka"
        self.splits = training_splits(config, objects)
        self.example = torch.zeros(2, *self.splits.shape)
        student = objects.student or create_student(config, self.splits)
        check_student(student, config, self.example)
        if config.student_checkpoint:
            with as_user_error("student_checkpoint"):
                start_from(student, config.student, config.student_checkpoint)
        probe = read_probe(config, self.splits)
        teachers = teachers_of(config, self.splits.format, objects.teacher)
        self._check_measures(teachers, probe)
        self._computing: list[NetworkTeacher] = []
        distiller = self._distiller(student, teachers, objects) if config.needs_teacher else None
        measured = teachers[0].measured if teachers else None
        self._evaluation = Evaluation(config, self.splits, probe, measured)
        module = EmbeddingModule(
            student,
            distiller,
            config.feature_weight,
            self.splits.augmentation,
            config.channels_last,
            config.compile,
        )
        self.steps = [OptimizerStep(module)]
        self._compared: Compared | None = None

    def _check_measures(self, teachers: list[ChosenTeacher], probe: Probe | None) -> None:
        if not teachers and probe is None:
            raise FieldError("probe_path", "is needed without a teacher, as nothing else measures.")
        if teachers:
            count = len(cast(Sized, self.splits.validation))
            require_measurable(count, "validation_fraction", "pictures to validate with")
        if len(teachers) > 1:
            say("similarity", [f"measured with {teachers[0].name}, the first of {len(teachers)}"])

    def _distiller(
        self, student: nn.Module, teachers: list[ChosenTeacher], objects: Objects
    ) -> Distiller:
        samples, constant = len(cast(Sized, self.splits.train)), self.splits.constant
        if constant is None and objects.teacher is None:
            networks = [chosen.teacher for chosen in teachers]
            self._computing = [each for each in networks if isinstance(each, NetworkTeacher)]
        return distiller_of(
            self.config, student, teachers, samples, self.example, constant, objects.loss
        )

    @property
    def _module(self) -> EmbeddingModule:
        return cast(EmbeddingModule, self.steps[0].module)

    def step_teacher(self) -> HasPrecision | None:
        """Return the teachers that run in every step, of which all compute alike."""
        return SharedPrecision(self._computing) if self._computing else None

    def cost(self) -> dict[str, float]:
        """Return parameters and multiply-adds of the student."""
        return model_cost(self.model, self.example[:1])

    def train_loader(self) -> DataLoader:
        """Return shuffled batches of the training split."""
        config = self.config
        return loader(
            self._train, config.batch_size, shuffle=True, workers=config.workers, drop_last=True,
            classes=len(self.splits.classes), pin_memory=config.pins_memory,
        )  # fmt: skip

    @property
    def _train(self) -> torch.utils.data.Dataset:
        return cast(torch.utils.data.Dataset, self.splits.train)

    def validation_loader(self) -> DataLoader:
        """Return batches of the validation split."""
        config = self.config
        return loader(
            self.splits.validation, max(config.batch_size, 256), workers=config.workers,
            classes=len(self.splits.classes), lowest=-1, pin_memory=config.pins_memory,
        )  # fmt: skip

    def evaluate(
        self, predict: Predict, batches: DataLoader, accelerator: Accelerator
    ) -> dict[str, float]:
        """Return the measures of ``vkd.embedding.measures``, beside the teacher's own."""
        return self._evaluation(predict, accelerator)

    def sample_ids(self, batch: Any) -> Tensor:
        """Return the indices (N,) of a batch's images."""
        return cast(Tensor, batch[2])

    def sample_names(self, ids: Sequence[int]) -> list[str]:
        """Return the names of training images; see ``vkd.data.sample_names``."""
        return sample_names(ids, self.splits.readers, self._train)

    def similarities(self, model: Evaluated) -> Similarities:
        """Return how like the student's embeddings are to the teacher's, where it has one."""
        teacher, epochs = self._evaluation.teacher, self.config.epochs
        self._compared = compared(self.splits, teacher, epochs, model)
        total = len(cast(Sized, self.splits.validation))
        distiller = self._module.distiller
        return similarities_of(self._compared, total, distiller, self._is_embedding)

    def findings(self, model: Evaluated) -> list[Finding]:
        """Return the nearest neighbours of some pictures, by student and teacher."""
        if self._compared is None:
            return []
        return neighbours_of(self._compared, self.splits, self.config.has_labels)

    def metadata(self) -> dict[str, str]:
        """Return what using the weights needs to know: how images are prepared."""
        return {"inputs": json.dumps(self.splits.format.as_dict() | {"shape": self.splits.shape})}

    def sources(self) -> dict[str, str]:
        """Return a digest of the training pictures."""
        return {"data_path": training_fingerprint(self.splits, with_contents=False).listing}

    def reading_advice(self) -> list[str]:
        """Return augmentation on the device, where there is one beside the CPU and it is off."""
        config, device = self.config, PartialState().device.type
        is_possible = config.augments and not config.augment_on_device and device != "cpu"
        return ["augmentation on the device (--augment-on-device)"] if is_possible else []

    def extra_tensors(self, states: list[dict[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
        """Return the weights of linear projections; that of the embedding is ``weight``."""
        distiller = self._module.distiller
        if distiller is None:
            return {}
        state = self._module.state_of("loss", states[0])
        found = saved_projections(distiller, state, self._is_embedding)
        return {FILE: found} if found else {}

    def _is_embedding(self, pair: Pair) -> bool:
        """Whether a pair compares the student's embedding with what it is measured by."""
        is_whole = pair.teacher_layer == "" or not self.config.layers
        return pair.student_layer == "" and is_whole and not self.config.dense


def training_splits(config: EmbeddingConfig, objects: Objects) -> Splits:
    """Return the pictures of a recipe.

    Raises:
        UserError: if there are none to train on.
    """
    splits = objects.data or read_splits(config, student_format(config, objects.student))
    if splits.train is None:
        raise FieldError("data_path", f"{config.data_path} has no training split, such as train.")
    return splits


def create_student(config: EmbeddingConfig, splits: Splits) -> nn.Module:
    """Return the student of a recipe, for its images."""
    return create_model(config.student, **fitting_options(config.student, splits.shape, 0))


def check_student(student: nn.Module, config: EmbeddingConfig, example: Tensor) -> None:
    """Raise ``FieldError`` for a student that gives no embeddings of the images."""
    name = config.student or type(student).__name__
    try:
        with probing(student):
            found = student(example)
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        shape = " x ".join(map(str, example.shape[1:]))
        raise FieldError(
            "student", f": {name} does not take images of {shape}: {reason_of(error)}."
        ) from error
    width_of(found, name)
