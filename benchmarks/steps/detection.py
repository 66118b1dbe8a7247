"""ViDT nano with tiny, by the paper's recipe, on pictures of half of COCO's size."""

from typing import Any, ClassVar, cast

from torch import nn

import vkd
from days import COCO_CLASSES, write_coco
from steps.pair import Pair, Step
from vkd.config import TrainingConfig
from vkd.detection.config import DetectionConfig
from vkd.detection.module import DetectionModule
from vkd.detection.task import DetectionTask
from vkd.models.vidt.detector import pad_images
from vkd.training.task import Task, TrainingModule


class DetectionPair(Pair):
    """A detector and its teacher; see ``Pair``."""

    rows: ClassVar[tuple[str, ...]] = (
        "student", "teacher", "network", "network-bfloat16", "release",
    )  # fmt: skip
    left_out: ClassVar[dict[str, str]] = {
        "store": "stored tokens take 9.5 MB for each view of a picture, see docs/stores.md"
    }

    def fields(self) -> dict[str, Any]:
        is_quick = self.settings.quick
        networks = {"student": "vidt_digits", "teacher": "vidt_digits_large"}
        side = 64 if is_quick else 320  # of 640 x 480
        return {
            "data_path": str(self.folder),
            "augmentation": "none", "short_side": side, "long_side": 2 * side,
            "batch_size": max(2, self.settings.batch_size // 4),
        } | (networks if is_quick else {"teacher": "vidt_tiny"})  # fmt: skip

    def prepare(self) -> None:
        write_coco(self.folder, self.config().batch_size)

    def task(self, config: TrainingConfig) -> Task:
        assert isinstance(config, DetectionConfig)
        return DetectionTask(config, self.objects(config))

    def teacher(self) -> nn.Module:
        return vkd.create_model(self.fields()["teacher"], num_classes=COCO_CLASSES)

    def teacher_forward(self, module: TrainingModule, batch: Any) -> Step:
        teacher = cast(DetectionModule, module).teacher
        assert teacher is not None
        return lambda: teacher(*pad_images(batch["images"]))

    def parts(self, task: Task) -> dict[str, nn.Module]:
        module = cast(DetectionModule, task.steps[-1].module)
        assert module.teacher is not None
        assert module.token_loss is not None
        return {
            "student": module.student,
            "teacher": module.teacher.model,
            "feature loss": module.token_loss,
        }
