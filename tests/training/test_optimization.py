"""What weight decay spares, in every task and for every method alike."""

import pytest
import torch
from torch import nn

from support.gan import small_gan
from vkd.classification.task import ClassificationTask
from vkd.generation.task import GenerationTask
from vkd.recipe import recipe
from vkd.training.optimization import create_optimizer, parameter_groups
from vkd.training.task import TrainingModule

PROJECTIONS = ("orthogonal", "linear", "mlp")


def decays(module, config):
    """The weight decay of each trained parameter, by name."""
    groups = create_optimizer(module, config, config.lr).param_groups
    found = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    named = {name: found.pop(id(p)) for name, p in module.named_parameters()}
    assert not found, "the optimiser has parameters that are not the module's"
    return named


def check(named, prefix):
    """The method's parameters are not decayed, and matrices elsewhere are."""
    methods = {value for name, value in named.items() if name.startswith(prefix)}
    assert methods == {0.0}
    assert 0.1 in {value for name, value in named.items() if not name.startswith(prefix)}


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_projections_of_classifiers_are_not_decayed_vkds_and_rivals_alike(
    digits_teacher, projection
):
    config = recipe(
        "digits", teacher_checkpoint=str(digits_teacher), projection=projection, weight_decay=0.1,
        device="cpu",
    )  # fmt: skip
    check(decays(ClassificationTask(config).steps[0].module, config), "methods.")


@pytest.mark.parametrize("projection", PROJECTIONS)
def test_projections_of_discriminators_are_not_decayed_either(digits_teacher, projection):
    networks = {
        "teacher_checkpoint": str(digits_teacher),
        "extractor_checkpoint": str(digits_teacher),
    }
    config = small_gan(**networks, projection=projection, weight_decay=0.1)
    module = GenerationTask(config).steps[1].module
    check(decays(module, config), "method.")


class Scaled(TrainingModule):
    """Two layers, the second at a tenth of the rate."""

    def __init__(self):
        super().__init__()
        self.student = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))

    def lr_scale(self, name):
        return 0.1 if name.startswith("student.1.") else 1.0

    def undecayed(self):
        return {"student.0.weight"}


def test_groups_follow_what_a_module_declares():
    module = Scaled()
    groups = parameter_groups(module, 0.05, 2.0)
    found = {id(p): group for group in groups for p in group["params"]}
    named = dict(module.named_parameters())
    rates = {name: found[id(p)]["lr"] for name, p in named.items()}
    assert rates == {
        "student.0.weight": 2.0, "student.0.bias": 2.0,
        "student.1.weight": pytest.approx(0.2), "student.1.bias": pytest.approx(0.2),
    }  # fmt: skip
    decayed = [name for name, p in named.items() if found[id(p)]["weight_decay"]]
    assert decayed == ["student.1.weight"]
    assert sum(len(group["params"]) for group in groups) == 4
    assert isinstance(named["student.0.weight"], torch.nn.Parameter)
