"""No step of any task makes the host of an accelerator wait, but detection once, to match."""

from contextlib import nullcontext
from functools import partial

import pytest
import timm
import torch

from support.release import targets_of
from support.waiting import Waits, reads_of
from vkd import Distiller, create_model
from vkd.classification.config import ClassificationConfig
from vkd.classification.task import ClassificationTask
from vkd.data.images import splits_of
from vkd.detection.config import DetectionConfig
from vkd.detection.module import DetectionModule
from vkd.detection.tokens import TokenLoss, TokenTeacher
from vkd.generation.config import GenerationConfig
from vkd.generation.module import DiscriminatorModule, GeneratorModule
from vkd.methods.build import build_method
from vkd.methods.catalogue import METHODS
from vkd.methods.method import Sizes
from vkd.methods.vkd import VkD
from vkd.models.biggan import Discriminator, Generator
from vkd.teacher import NetworkTeacher
from vkd.training.means import Means
from vkd.training.task import Objects

PLACES = ["cpu", "meta"]


@pytest.fixture(autouse=True)
def autocast(monkeypatch):
    """There is none on the meta device, where it has nothing to do."""
    own = torch.autocast
    monkeypatch.setattr(
        torch,
        "autocast",
        lambda kind, **rest: nullcontext() if kind == "meta" else own(kind, **rest),
    )


def check(module, batch, place, most=0):
    """Run a step of a module on the CPU, or on the meta device, and count what waits."""
    module.to(place).train()

    def step():
        terms = module(batch)
        torch.stack(list(terms.values())).sum().backward()
        means = Means()
        means.add({name: term.detach() for name, term in terms.items()})
        means.add(module.measures())

    with Waits():
        step()
    if place == "cpu":
        assert reads_of(step) == []
    else:
        with Waits() as waits:
            step()
        assert waits.found == ["a copy to the host"] * most


def weighted(name):
    """The fields of a recipe with a method that has a weight."""
    weight = "logit_weight" if METHODS[name].compares == "logits" else "feature_weight"
    return {"method": name, weight: 1.0}


CLASSIFICATION = [
    *(weighted(name) for name in METHODS if name != "identity"),
    *(
        {"feature_weight": 1.0} | fields
        for fields in (
            {"mixup": 0.8, "cutmix": 1.0, "label_smoothing": 0.1, "logit_weight": 0.5},
            {"label_loss": "binary_cross_entropy"},
            {"normalization": "standardize"},
            {"normalization": "whiten"},
            {"channels_last": True},
        )
    ),
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("fields", CLASSIFICATION, ids=str)
def test_classification(fields, place):
    images = [(torch.rand(3, 32, 32), index % 4) for index in range(16)]
    data = splits_of(images, images, classes=4)
    config = ClassificationConfig(
        student_layer="global_pool", teacher_layer="global_pool", student="own", teacher="own",
        objects={"data": "Splits", "student": "ResNet", "teacher": "ResNet"},
        **fields,
    )  # fmt: skip
    student, teacher = (timm.create_model("resnet18", num_classes=4) for _ in range(2))
    task = ClassificationTask(config, Objects(student=student, teacher=teacher, data=data))
    batch = (torch.rand(8, 3, 32, 32), torch.randint(4, (8,)), torch.arange(8))
    batch = tuple(part.to(place) for part in batch)
    teacher.to(place)
    check(task.steps[0].module, batch, place)


def detector_batch(place, with_masks=False):
    targets = [{name: part.to(place) for name, part in target.items()} for target in targets_of(2)]
    for target in targets:
        target["labels"] = target["labels"] % 10
        if with_masks:
            target["masks"] = torch.ones(len(target["labels"]), 64, 96, device=place)
    # Of two sizes, so that there is padding.
    images = [torch.rand(3, 64, 96, device=place), torch.rand(3, 48, 64, device=place)]
    return {"images": images, "targets": targets}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", ["plain", "distilled", "plus", "without a neck"])
def test_detection_waits_once_for_the_costs_of_matching(kind, place):
    fields, options = {}, {}
    if kind == "plus":
        fields = {
            "dataset": "coco",
            "data_path": "there",
            "fusion": True,
            "iou_weight": 1.0,
            "token_label_weight": 1.0,
        }
        options = {"fusion": True, "iou_aware": True, "token_label": True}
    if kind == "without a neck":
        fields = options = {"architecture": "vidt_wo_neck"}
    config = DetectionConfig(**{"dataset": "digits-detection", "student": "vidt_digits"} | fields)
    student = create_model("vidt_digits", **options)
    teacher = loss = None
    if kind == "distilled":
        network = create_model("vidt_digits").to(place)
        teacher = TokenTeacher(network)
        method = partial(VkD, normalization="standardize", both_sides=True)
        loss = TokenLoss(method, student.dim, network.dim)
    module = DetectionModule(student, config, teacher, loss)
    check(module, detector_batch(place, kind == "plus"), place, most=1)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("diff_augment", [True, False])
def test_generation(diff_augment, place):
    config = GenerationConfig(
        teacher="own", objects={"teacher": "ResNet"}, feature_weight=1.0, normalization="whiten",
        diff_augment=diff_augment,
    )  # fmt: skip
    generator, discriminator = Generator(channels=4), Discriminator(channels=4)
    network = timm.create_model("resnet18", num_classes=0).to(place)
    sizes = Sizes(student_dim=discriminator.width, teacher_dim=512, samples=16)
    method = build_method("vkd", sizes, {}, config.method_values())
    teacher = NetworkTeacher(network, "global_pool")
    batch = (torch.rand(8, 3, 32, 32), torch.randint(10, (8,)), torch.arange(8))
    batch = tuple(part.to(place) for part in batch)
    modules = (
        DiscriminatorModule(discriminator, generator, config, teacher, method),
        GeneratorModule(generator, discriminator, config),
    )
    for module in modules:
        module.to(place)
    for module in modules:
        check(module, batch, place)


@pytest.mark.parametrize("place", PLACES)
def test_a_distiller(place):
    student, teacher = (timm.create_model("resnet18", num_classes=4) for _ in range(2))
    distiller = Distiller(
        student, teacher, layers={"layer3": "layer3", "layer4": "layer4"},
        example=torch.zeros(2, 3, 32, 32),
    )  # fmt: skip
    distiller.to(place)
    teacher.to(place)
    images = torch.rand(8, 3, 32, 32, device=place)

    def step():
        distiller(images).loss.backward()

    step()
    if place == "cpu":
        assert reads_of(step) == []
    else:
        with Waits() as waits:
            step()
        assert waits.found == []


def test_what_waits_is_found():
    images = torch.rand(4, 3, device="meta")
    with Waits() as waits:
        images.mean().item()
        images.cpu()
        torch.tensor([1.0, 2.0], device="meta")
        torch.ones(4).to("meta", non_blocking=True)
    assert waits.found == ["a value read", "a copy to the host", "a blocking copy from the host"]
    assert reads_of(lambda: torch.ones(3).sum().item()) == ["aten::_local_scalar_dense"]
    assert "aten::nonzero" in reads_of(lambda: torch.ones(3)[torch.ones(3) > 0])
