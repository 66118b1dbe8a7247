"""DeiT with a RegNetY, by the paper's recipe."""

from functools import cached_property
from typing import Any, ClassVar, cast

import timm
import torch
from torch import nn
from torch.utils.data import TensorDataset

from steps.pair import Pair, Step
from vkd.api.cache import cache
from vkd.classification.config import ClassificationConfig
from vkd.classification.module import ClassificationModule
from vkd.classification.task import ClassificationTask
from vkd.config import TrainingConfig
from vkd.data.images import Splits, splits_of
from vkd.models.deit import default_cfgs
from vkd.teacher import NetworkTeacher
from vkd.training.task import Task, TrainingModule

CLASSES = 1000
# Made images are in memory, and so neither read nor augmented; they are mixed as the recipe says.
MADE: dict[str, Any] = {
    "dataset": "digits", "augmentation": "none", "color_jitter": 0.0, "flip": False,
}  # fmt: skip


class ClassificationPair(Pair):
    """A classifier and its teacher; see ``Pair``."""

    rows: ClassVar[tuple[str, ...]] = (
        "student", "teacher", "network", "network-bfloat16", "store", "release", "timm", "plain",
        "timm-plain", "torchdistill", "projection", "release-projection",
    )  # fmt: skip
    alone: ClassVar[dict[str, Any]] = {"feature_weight": 0.0, "logit_weight": 0.0}
    stored: ClassVar[dict[str, Any]] = {"mixup_mode": "pair"}

    @property
    def side(self) -> int:
        """Side of the images."""
        return 32 if self.settings.quick else 224

    def fields(self) -> dict[str, Any]:
        small = {"teacher": "regnety_002"} if self.settings.quick else {}
        return MADE | small | {"objects": {"data": Splits.__name__}}

    @cached_property
    def data(self) -> Splits:
        """Two batches of images of noise."""
        count = 2 * self.settings.batch_size
        random = torch.Generator().manual_seed(0)
        images = torch.randn(count, 3, self.side, self.side, generator=random)
        labels = torch.randint(CLASSES, (count,), generator=random)
        made = TensorDataset(images, labels)
        published = default_cfgs["deit_ti_distilled"].default
        return splits_of(made, made, classes=CLASSES, mean=published.mean, std=published.std)

    def prepare(self) -> None:
        config = self.config(**self.stored)
        cache(config, self.folder / "store", views=1, show=False, teacher=self.teacher(),
              data=self.data)  # fmt: skip

    def task(self, config: TrainingConfig) -> Task:
        assert isinstance(config, ClassificationConfig)
        return ClassificationTask(config, self.objects(config, self.data))

    def teacher(self) -> nn.Module:
        return timm.create_model(self.fields().get("teacher", "regnety_160"), num_classes=CLASSES)

    def teacher_forward(self, module: TrainingModule, batch: Any) -> Step:
        distillation = cast(ClassificationModule, module).distillation
        assert distillation is not None
        return lambda: distillation.teacher(batch[0], batch[2])

    def parts(self, task: Task) -> dict[str, nn.Module]:
        module = cast(ClassificationModule, task.steps[-1].module)
        assert module.distillation is not None
        teacher = cast(NetworkTeacher, module.distillation.teacher)
        losses = {f"{name} loss": method for name, method in module.methods.items()}
        return {"student": module.student, "teacher": teacher.model, **losses}
