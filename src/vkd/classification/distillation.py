"""The teacher of a classifier, and the methods that compare the two."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vkd.classification.config import ClassificationConfig
from vkd.errors import FieldError, as_user_error
from vkd.features import FeatureTap, NotRunError, Pool, pooling, prefix_tokens_of
from vkd.methods.build import build_method, check_signals
from vkd.methods.method import Method, Signals, Sizes
from vkd.models.factory import told_last_layer
from vkd.teacher import Teacher, TeacherOutput
from vkd.training.task import Objects


@dataclass(frozen=True)
class TeacherSizes:
    """The numbers of a teacher's ``features`` and ``classes``; 0 classes without logits."""

    features: int
    classes: int

    @classmethod
    def of(cls, widths: dict[str, int], num_classes: int | None) -> "TeacherSizes":
        """Return the sizes of a teacher with one layer.

        Raises:
            ValueError: if it has several.
        """
        (features,) = widths.values()
        return cls(features, num_classes or 0)


@dataclass
class Distillation:
    """A teacher, and the methods that compare a student with it.

    Attributes:
        teacher: gives features and logits of a batch.
        methods: by loss term, ``feature`` and ``logit``, each where it has weight.
        tap: the student's layer whose output is compared; None where no method compares features.
        pool: its pooling.
        samples: number of training images; a store's rows count each of its views.
        is_mixed: whether a batch's images are mixed, and so have no index of their own.
    """

    teacher: Teacher
    methods: dict[str, nn.Module]
    tap: FeatureTap | None
    pool: Pool
    samples: int
    is_mixed: bool

    def signals(
        self, output: TeacherOutput, student_logits: Tensor, labels: Tensor, indices: Tensor
    ) -> Signals:
        """Return what the methods see of a batch that the student has just seen.

        Args:
            output: the teacher's, for the same images.
            student_logits: (N, classes).
            labels: (N,), or (N, classes) where images are mixed.
            indices: (N,), rows of a store where the teacher is one.
        """
        return Signals(
            student_features=None if self.tap is None else self.pool(self.tap.take()),
            teacher_features=output.only,
            student_logits=student_logits,
            teacher_logits=output.logits,
            labels=labels,
            indices=None if self.is_mixed else indices % self.samples,
        )


def distillation_of(
    config: ClassificationConfig,
    student: nn.Module,
    teacher: Teacher,
    sizes: TeacherSizes,
    samples: int,
    example: Tensor,
    objects: Objects,
) -> Distillation:
    """Return what a recipe's losses compare.

    Args:
        config: the recipe.
        student: the network to tap.
        teacher: its teacher.
        sizes: of the teacher's outputs.
        samples: number of training images.
        example: an image batch to find feature sizes with.
        objects: the loss, where it is given as an object.

    Raises:
        UserError: for a layer that is not there, or a method that does not fit.
    """
    pool = pooling("auto", prefix_tokens_of(student))
    tap, student_dim = None, 0
    with as_user_error("student_layer"):
        if config.compares_features:
            layer = config.student_layer or told_last_layer(student, f"student {config.student}")
            tap = FeatureTap(student, layer)
            student_dim = _feature_dim(student, tap, pool, example)
    built = Sizes(
        student_dim=student_dim,
        teacher_dim=sizes.features,
        classes=sizes.classes,
        samples=samples,
    )
    methods = {}
    if config.compares_features:
        methods["feature"] = (
            objects.loss(built) if objects.loss else _method(config.method, config, built)
        )
    if config.logit_weight:
        methods["logit"] = _method(config.logit_method, config, built)
    return Distillation(teacher, methods, tap, pool, samples, config.mixes)


def check_methods(config: ClassificationConfig) -> None:
    """Raise ``UserError`` for a method that cannot compare the recipe's images."""
    if config.compares_features:
        _check(config.method, config)
    if config.logit_weight:
        _check(config.logit_method, config)


def _check(name: str, config: ClassificationConfig) -> None:
    available, where = set(Signals._fields), "images"
    if config.mixes:
        available, where = available - {"indices"}, "mixed images"
    elif config.label_fraction < 1:
        available, where = available - {"labels"}, "images without labels"
    with as_user_error("method"):
        check_signals(name, available, where)


def _method(name: str, config: ClassificationConfig, sizes: Sizes) -> Method:
    _check(name, config)
    options = config.method_options if name == config.method else {}
    with as_user_error("method_options"):
        return build_method(name, sizes, options, config.method_values())


@torch.no_grad()
def _feature_dim(student: nn.Module, tap: FeatureTap, pool: Pool, example: Tensor) -> int:
    training = student.training
    student.eval()(example)
    student.train(training)
    try:
        return pool(tap.take()).shape[1]
    except NotRunError as error:
        raise FieldError("student_layer", f": {error}") from None
