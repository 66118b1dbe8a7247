"""No step of any task makes the host of an accelerator wait, but detection once, to match."""

import pytest
import timm
import torch

from support.steps import classification_module, detection_module, generation_modules
from support.waiting import Waits, check, reads_of
from vkd import Distiller
from vkd.methods.catalogue import METHODS
from vkd.training.means import Means

PLACES = ["cpu", "meta"]


def check_module(module, batch, place, most=0):
    """Check a training step of a module, up to the terms' means."""
    module.to(place).train()

    def step():
        terms = module(batch)
        torch.stack(list(terms.values())).sum().backward()
        means = Means()
        means.add({name: term.detach() for name, term in terms.items()})
        means.add(module.measures())

    check(step, place, most)


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
    check_module(*classification_module(place, **fields), place)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", ["plain", "distilled", "plus", "without a neck"])
def test_detection_waits_once_for_the_costs_of_matching(kind, place):
    check_module(*detection_module(kind, place), place, most=1)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("diff_augment", [True, False])
def test_generation(diff_augment, place):
    modules, batch = generation_modules(place, diff_augment=diff_augment)
    for module in modules:
        module.to(place)
    for module in modules:
        check_module(module, batch, place)


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

    check(lambda: distiller(images).loss.backward(), place)


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
