"""Networks with their losses and made batches, as the three tasks train them, and their steps.

Weights are random: they take as long as trained ones.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from gpu_checks.context import Context
from vkd.config import TrainingConfig
from vkd.detection.tokens import TokenLoss, TokenTeacher
from vkd.methods.vkd import VkD
from vkd.models import create_model
from vkd.models.vidt.detector import ViDT
from vkd.training.task import TrainingModule


class Work(NamedTuple):
    """What is trained, on a batch of its own, by the config's optimiser."""

    module: TrainingModule
    batch: Any
    config: TrainingConfig


class Step:
    """A training step: forward, losses, backward and the optimiser, as the trainer takes it.

    Sums the loss terms and what else is measured on the device, where the trainer does.

    Args:
        context: of the check.
        work: what is trained.
        dtype: of autocast; float32 for none. Gradients of float16 are scaled.
    """

    def __init__(self, context: Context, work: Work, dtype: torch.dtype) -> None:
        from vkd.training.means import Means
        from vkd.training.optimization import create_optimizer

        self.module, self.batch, config = work
        self.module.to(context.device).train()
        self.optimizer = create_optimizer(self.module, config, config.lr)
        self.clip_grad = config.clip_grad
        kind = context.device.type
        self.autocast = partial(torch.autocast, kind, dtype, enabled=dtype != torch.float32)
        self.scaler = torch.amp.GradScaler(kind, enabled=dtype == torch.float16)
        self.means = Means()

    def __call__(self) -> Tensor:
        """Take a step on the batch and return its loss."""
        return self.on(self.batch)

    def on(self, batch: Any) -> Tensor:
        """Take a step on a batch and return its loss."""
        with self.autocast():
            terms = self.module(batch)
        loss = torch.stack(list(terms.values())).sum()
        self.scaler.scale(loss).backward()
        if self.clip_grad:
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.module.parameters(), self.clip_grad)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        self.means.add({name: term.detach().float() for name, term in terms.items()})
        self.means.add(self.module.measures())
        return loss.detach()


def classifier(
    context: Context,
    batch_size: int,
    teacher: nn.Module | Callable[..., Any] | None = None,
    **fields: Any,
) -> Work:
    """Return the paper's distilled DeiT-Ti; in a quick run a network of small images.

    Args:
        context: of the check.
        batch_size: images.
        teacher: a network, or what gives its outputs; None to train the student alone.
        fields: of the recipe.
    """
    from vkd.classification.config import ClassificationConfig
    from vkd.classification.task import ClassificationTask
    from vkd.data.images import splits_of
    from vkd.training.task import Objects

    shape, classes = context.sized(((3, 224, 224), 1000), ((1, 8, 8), 10))
    name, layer = context.sized(("deit_ti_distilled", "final_conv"), ("conv_vit_digits", ""))
    few = [(torch.zeros(shape), label) for label in range(2)]
    objects = {"data": "Splits"}
    if teacher is not None:
        objects["teacher"] = type(teacher).__name__
        fields = {"feature_weight": 1.0, "logit_weight": 1.0} | fields
        fields |= {"teacher_layer": layer if isinstance(teacher, nn.Module) else ""}
    else:
        fields = {"feature_weight": 0.0} | fields
    config = ClassificationConfig(
        student=name, teacher="own" if teacher is not None else "", objects=objects, lr=5e-4,
        batch_size=batch_size, **fields,
    )  # fmt: skip
    data = splits_of(few, few, classes=classes)
    task = ClassificationTask(config, Objects(data=data, teacher=teacher))
    device = context.device
    images = torch.randn(batch_size, *shape, device=device)
    labels = torch.randint(classes, (batch_size,), device=device)
    batch = images, labels, torch.arange(batch_size, device=device)
    return Work(task.steps[0].module, batch, config)


def classifier_teacher(context: Context) -> nn.Module:
    """Return the paper's RegNetY-160; in a quick run a CNN of small images."""
    return create_model(context.sized("regnety_160", "cnn_digits"))


def pictures(context: Context, count: int) -> list[Tensor]:
    """Return images of COCO's largest size, of several the last one less wide."""
    height, width = context.sized((800, 1333), (64, 96))
    sizes = [(height, width)] + [(height, width)] * (count - 2)
    sizes += [(height, width * 3 // 4)] * (count > 1)
    return [torch.randn(3, *size, device=context.device) for size in sizes]


def detector(context: Context, name: str, batch_size: int, teacher: str = "") -> Work:
    """Return a detector of COCO's classes with its losses, and with ``teacher``'s tokens.

    Each image has seven objects, as COCO's have.
    """
    from vkd.detection.config import DetectionConfig
    from vkd.detection.module import DetectionModule

    config = DetectionConfig(
        student=name, lr=1e-4, batch_size=batch_size, clip_grad=0.1, dataset="digits-detection"
    )
    student = vidt(name)
    frozen, loss = None, None
    if teacher:
        network = vidt(teacher)
        frozen, loss = TokenTeacher(network), token_loss(student, network)
    device = context.device
    targets = [
        {
            "labels": torch.randint(1, student.num_classes, (7,), device=device),
            "boxes": torch.rand(7, 4, device=device) * 0.3 + 0.2,
        }
        for _ in range(batch_size)
    ]
    batch = {"images": pictures(context, batch_size), "targets": targets}
    return Work(DetectionModule(student, config, frozen, loss), batch, config)


def vidt(name: str) -> ViDT:
    """Return a detector by name."""
    return cast(ViDT, create_model(name))


def token_loss(student: ViDT, teacher: ViDT) -> TokenLoss:
    """Return the distance of two detectors' tokens, as the recipes have it."""
    method = partial(VkD, normalization="standardize", both_sides=True)
    return TokenLoss(method, student.dim, teacher.dim)


def gan(context: Context, batch_size: int) -> dict[str, Work]:
    """Return discriminator and generator for images of 32 x 32, and a ResNet as teacher."""
    from vkd.generation.config import GenerationConfig
    from vkd.generation.module import DiscriminatorModule, GeneratorModule
    from vkd.methods.build import build_method
    from vkd.methods.method import Sizes
    from vkd.models.biggan import Discriminator, Generator
    from vkd.teacher import NetworkTeacher

    config = GenerationConfig(
        teacher="own", objects={"teacher": "ResNet"}, feature_weight=1.0, normalization="whiten",
        batch_size=batch_size, optimizer="adam", weight_decay=0.0,
    )  # fmt: skip
    channels = context.sized(96, 4)
    generator, discriminator = Generator(channels=channels), Discriminator(channels=channels)
    network = create_model("resnet18", num_classes=0)
    sizes = Sizes(student_dim=discriminator.width, teacher_dim=512, samples=batch_size)
    method = build_method("vkd", sizes, {}, config.method_values())
    for part in (generator, discriminator):
        part.to(context.device)
    device = context.device
    images = torch.rand(batch_size, 3, 32, 32, device=device) * 2 - 1
    batch = (
        images,
        torch.randint(10, (batch_size,), device=device),
        torch.arange(batch_size, device=device),
    )
    teacher = NetworkTeacher(network, "global_pool")
    modules: dict[str, TrainingModule] = {
        "discriminator": DiscriminatorModule(discriminator, generator, config, teacher, method),
        "generator": GeneratorModule(generator, discriminator, config),
    }
    return {name: Work(module, batch, config) for name, module in modules.items()}
