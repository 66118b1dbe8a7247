"""BigGAN's discriminator with CLIP, by the recipe for CIFAR-10.

The generator's update, one for four of the discriminator's, has no teacher and is left out.
"""

from typing import Any, ClassVar, cast

import timm
import torch
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import Subset

import vkd
from steps.pair import Pair, Step
from vkd.config import TrainingConfig
from vkd.data.images import Images
from vkd.generation.config import GenerationConfig
from vkd.generation.data import GenerationSplits
from vkd.generation.module import DiscriminatorModule
from vkd.generation.task import GenerationTask
from vkd.models.biggan import SIDE
from vkd.teacher import NetworkTeacher
from vkd.training.task import Task, TrainingModule

CLASSES = [str(number) for number in range(10)]
EXTRACTOR = "cnn_digits"  # in Inception's place, which would be fetched and is not run here


class GenerationPair(Pair):
    """A discriminator and its teacher; see ``Pair``."""

    rows: ClassVar[tuple[str, ...]] = ("student", "teacher", "network", "network-bfloat16")
    left_out: ClassVar[dict[str, str]] = {
        "store": "the recipe's teacher sees images that are augmented anew at every step"
    }

    def fields(self) -> dict[str, Any]:
        small = {"teacher": "test_vit", "channels": 4, "noise_dim": 8}
        fields = {
            "extractor": EXTRACTOR,
            "extractor_checkpoint": str(self.folder / "extractor.safetensors"),
            "objects": {"data": GenerationSplits.__name__},
        }
        return fields | (small if self.settings.quick else {})

    def prepare(self) -> None:
        extractor = vkd.create_model(EXTRACTOR)
        save_file(extractor.state_dict(), self.folder / "extractor.safetensors")

    def data(self) -> GenerationSplits:
        """Return a batch of images of noise."""
        count = self.settings.batch_size
        random = torch.Generator().manual_seed(0)
        images = torch.rand(count, 3, SIDE, SIDE, generator=random) * 2 - 1
        labels = torch.randint(len(CLASSES), (count,), generator=random)
        made = Images(images, labels)
        rows = torch.arange(count)
        return GenerationSplits(Subset(made, rows.tolist()), rows, made, made, CLASSES, 3)

    def task(self, config: TrainingConfig) -> Task:
        assert isinstance(config, GenerationConfig)
        return GenerationTask(config, self.objects(config, self.data()))

    def teacher(self) -> nn.Module:
        return timm.create_model(self.config().teacher)

    def teacher_forward(self, module: TrainingModule, batch: Any) -> Step:
        teacher = cast(DiscriminatorModule, module).teacher
        assert teacher is not None
        return lambda: teacher(batch[0], batch[2])

    def parts(self, task: Task) -> dict[str, nn.Module]:
        module = cast(DiscriminatorModule, task.steps[-1].module)
        assert module.method is not None
        teacher = cast(NetworkTeacher, module.teacher)
        generator = cast(GenerationTask, task).generator
        return {
            "student": module.discriminator,
            "teacher": teacher.model,
            "feature loss": module.method,
            "generator": generator,
        }
