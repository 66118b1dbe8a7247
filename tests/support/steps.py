"""Training modules of every task with a teacher, and batches for them."""

from functools import partial

import torch

from support.release import targets_of
from vkd import create_model
from vkd.classification.config import ClassificationConfig
from vkd.classification.task import ClassificationTask
from vkd.data.images import splits_of
from vkd.detection.config import DetectionConfig
from vkd.detection.module import DetectionModule
from vkd.detection.tokens import TokenLoss, TokenTeacher
from vkd.generation.config import GenerationConfig
from vkd.generation.module import DiscriminatorModule, GeneratorModule
from vkd.methods.build import build_method
from vkd.methods.method import Sizes
from vkd.methods.vkd import VkD
from vkd.models.biggan import Discriminator, Generator
from vkd.models.small import SmallCNN
from vkd.teacher import NetworkTeacher
from vkd.training.task import Objects


def classification_module(place="cpu", **fields):
    """A small network that learns from another, and a batch."""
    images = [(torch.rand(1, 8, 8), index % 4) for index in range(16)]
    data = splits_of(images, images, classes=4)
    config = ClassificationConfig(
        student_layer="features", teacher_layer="features", student="own", teacher="own",
        objects={"data": "Splits", "student": "SmallCNN", "teacher": "SmallCNN"}, **fields,
    )  # fmt: skip
    student, teacher = (SmallCNN(widths=widths, num_classes=4) for widths in ((4, 8), (8, 16)))
    task = ClassificationTask(config, Objects(student=student, teacher=teacher, data=data))
    teacher.to(place)
    return task.steps[0].module, classification_batch(place)


def classification_batch(place="cpu"):
    """Images, labels and indices."""
    batch = (torch.rand(8, 1, 8, 8), torch.randint(4, (8,)), torch.arange(8))
    return tuple(part.to(place) for part in batch)


def detection_module(kind="plain", place="cpu", num_layers=3, **fields):
    """The digits' detector, and a batch; ``kind`` is plain, distilled, plus, or without a neck."""
    options = {"num_layers": num_layers}
    if kind == "plus":
        options |= {"fusion": True, "iou_aware": True, "token_label": True}
        fields |= {"dataset": "coco", "data_path": "there", "fusion": True, "iou_weight": 1.0,
                   "token_label_weight": 1.0}  # fmt: skip
    if kind == "without a neck":
        fields |= {"architecture": "vidt_wo_neck"}
        options = {"architecture": "vidt_wo_neck"}
    config = DetectionConfig(**{"dataset": "digits-detection", "student": "vidt_digits"} | fields)
    student, teacher, loss = create_model("vidt_digits", **options), None, None
    if kind == "distilled":
        network = create_model("vidt_digits", num_layers=num_layers).to(place)
        teacher = TokenTeacher(network)
        method = partial(VkD, normalization="standardize", both_sides=True)
        loss = TokenLoss(method, student.dim, network.dim)
    module = DetectionModule(student, config, teacher, loss)
    return module, detection_batch(place, with_masks=kind == "plus")


def detection_batch(place="cpu", with_masks=False):
    """Images of two sizes, so that there is padding, and their objects."""
    targets = [{name: part.to(place) for name, part in target.items()} for target in targets_of(2)]
    for target in targets:
        target["labels"] = target["labels"] % 10
        if with_masks:
            target["masks"] = torch.ones(len(target["labels"]), 64, 96, device=place)
    images = [torch.rand(3, 64, 96, device=place), torch.rand(3, 48, 64, device=place)]
    return {"images": images, "targets": targets}


def generation_modules(place="cpu", **fields):
    """Discriminator and generator, and a batch."""
    config = GenerationConfig(
        teacher="own", objects={"teacher": "SmallCNN"}, feature_weight=1.0, normalization="whiten",
        **fields,
    )  # fmt: skip
    generator, discriminator = Generator(channels=4), Discriminator(channels=4)
    network = SmallCNN(3, (8, 24)).to(place)
    sizes = Sizes(student_dim=discriminator.width, teacher_dim=24, samples=16)
    method = build_method("vkd", sizes, {}, config.method_values())
    if config.compile:
        network.compile()
    teacher = NetworkTeacher(network, "features")
    modules = (
        DiscriminatorModule(discriminator, generator, config, teacher, method),
        GeneratorModule(generator, discriminator, config),
    )
    batch = (torch.rand(8, 3, 32, 32), torch.randint(10, (8,)), torch.arange(8))
    return modules, tuple(part.to(place) for part in batch)
