"""Other libraries' steps, with the teacher, batch, mixing and optimiser of ours."""

from collections.abc import Callable, Iterable
from typing import cast

import timm
from timm.data.mixup import Mixup
from timm.loss import SoftTargetCrossEntropy
from timm.optim import create_optimizer_v2
from timm.task import FeatureDistillationTask
from torch import Tensor, nn

from steps.classification import CLASSES, ClassificationPair
from steps.pair import Pair, Step
from vkd.classification.config import ClassificationConfig
from vkd.classification.task import create_student
from vkd.training.accelerator import make_accelerator

# timm's own students, whose stem is one convolution where the paper's has four.
PLAIN = {
    "deit_ti_distilled": "deit_tiny_distilled_patch16_224",
    "deit_s_distilled": "deit_small_distilled_patch16_224",
}
LossOf = Callable[[Tensor, Tensor], Tensor]


class RivalStep:
    """Mixing (in place, as in our step), forward, backward and the optimiser's step.

    Args:
        pair: of which networks.
        trained: parameters, or the module that has them.
        loss_of: maps mixed images and their labels to the loss.
    """

    def __init__(
        self, pair: Pair, trained: nn.Module | Iterable[nn.Parameter], loss_of: LossOf
    ) -> None:
        config = recipe_of(pair)
        self.accelerator, self.loss_of = make_accelerator(config), loss_of
        self.images, self.labels, _ = pair.batch(pair.task(pair.config(**pair.alone)), config)
        self.mixup = Mixup(
            config.mixup, config.cutmix, label_smoothing=config.label_smoothing,
            num_classes=CLASSES,
        )  # fmt: skip
        optimizer = create_optimizer_v2(
            trained, config.optimizer, config.lr, config.weight_decay, fused=True
        )
        self.optimizer = self.accelerator.prepare(optimizer)

    def __call__(self) -> None:
        images, labels = self.mixup(self.images, self.labels)
        with self.accelerator.autocast():
            loss = self.loss_of(images, labels)
        self.accelerator.backward(loss)
        self.optimizer.step()
        self.optimizer.zero_grad()


def recipe_of(pair: Pair) -> ClassificationConfig:
    """Return the recipe of a pair of classifiers."""
    return cast(ClassificationConfig, pair.config())


def same_student(pair: Pair) -> nn.Module:
    """Return the recipe's student."""
    return create_student(recipe_of(pair), cast(ClassificationPair, pair).data)


def plain_of(pair: Pair) -> nn.Module:
    """Return timm's student of the same width and depth, with a plain stem."""
    side = cast(ClassificationPair, pair).side
    return timm.create_model(PLAIN[recipe_of(pair).student], num_classes=CLASSES, img_size=side)


def plain_student(pair: Pair) -> Step:
    """timm's plain-stem student without a teacher."""
    student = plain_of(pair).to(make_accelerator(pair.config()).device).train()
    criterion = SoftTargetCrossEntropy()
    return RivalStep(pair, student, lambda images, labels: criterion(student(images), labels))


def timm_task(pair: Pair) -> Step:
    """timm's distillation of features, with the same student."""
    return _timm_step(pair, same_student(pair))


def timm_task_plain(pair: Pair) -> Step:
    """timm's distillation of features, with its plain-stem student."""
    return _timm_step(pair, plain_of(pair))


def _timm_step(pair: Pair, student: nn.Module) -> Step:
    task = FeatureDistillationTask(
        student, pair.teacher(), SoftTargetCrossEntropy(), distill_loss_weight=1.0,
        task_loss_weight=1.0, verbose=False,
    )  # fmt: skip
    task.to(make_accelerator(pair.config()).device).train()
    trained = cast(nn.Module, task.trainable_module)
    return RivalStep(pair, trained, lambda images, labels: task(images, labels)["loss"])


def torchdistill_box(pair: Pair) -> Step:
    """torchdistill's distillation of logits, the lightest that it has, with the same student."""
    from torchdistill.core.distillation import DistillationBox

    config = recipe_of(pair)
    every_output = {
        f"{side}_module_{part}": value
        for side in ("student", "teacher")
        for part, value in (("path", "."), ("io", "output"))
    }
    divergence = {"key": "KDLoss", "kwargs": {**every_output, "temperature": 1.0, "alpha": 0.5}}
    terms = {"sub_terms": {"kd": {"criterion": divergence, "weight": 1.0}}}
    by_images = {"forward_proc": "forward_batch_only"}
    stage = {
        "num_epochs": 1,
        "teacher": by_images | {"requires_grad": False},
        "student": by_images,
        "criterion": {"key": "WeightedSumLoss", "kwargs": terms},
    }
    device = make_accelerator(config).device
    box = DistillationBox(pair.teacher(), same_student(pair), {}, stage, device, None, False, 1.0)
    box.teacher_model.eval()
    box.student_model.train()
    return RivalStep(pair, box.student_model, box.forward_process)
