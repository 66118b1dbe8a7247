"""What weight decay spares, in every task and for every method alike."""

import math
from copy import deepcopy

import pytest
import torch
from timm.optim import create_optimizer_v2
from torch import nn

from support.gan import small_gan
from vkd.classification.task import ClassificationTask
from vkd.config import TrainingConfig
from vkd.generation.task import GenerationTask
from vkd.recipe import recipe
from vkd.training.optimization import (
    create_optimizer,
    create_schedule,
    load_optimizer,
    parameter_groups,
)
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


def test_all_parameters_decay_but_those_that_never_do():
    module = Scaled()
    module.never_decayed = lambda: {"student.1.bias"}
    groups = parameter_groups(module, 0.05, 2.0, decays_all=True)
    found = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    named = {name: found[id(p)] for name, p in module.named_parameters()}
    assert named == {
        "student.0.weight": 0.05, "student.0.bias": 0.05,
        "student.1.weight": 0.05, "student.1.bias": 0.0,
    }  # fmt: skip
    assert len(parameter_groups(module, 0.0, 2.0, decays_all=True)) == 2  # by rates alone


def rates(epochs=4, updates=3, **fields):
    """The rate of every update."""
    config = TrainingConfig(task="classification", epochs=epochs, lr=1.0, **fields)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 1.0)
    schedule = create_schedule(optimizer, config, 1.0, updates)
    found = []
    for update in range(epochs * updates):
        schedule.step_update(update)
        schedule.step(update // updates)
        found.append(optimizer.param_groups[0]["lr"])
    return found


def test_a_cosine_by_epochs_is_constant_within_each():
    cosine = [0.5 * (1 + math.cos(math.pi * epoch / 4)) for epoch in range(4) for _ in range(3)]
    assert rates(schedule_step="epoch") == pytest.approx(cosine)
    assert len(set(rates())) == 12


def test_steps_multiply_the_rate_and_warm_up_begins_where_it_is_told():
    steps = rates(schedule="step", schedule_step="epoch", decay_epochs=2, decay_rate=0.1)
    assert steps == pytest.approx([1.0] * 6 + [0.1] * 6)
    warm = rates(schedule_step="epoch", warmup_epochs=2, warmup_lr=0.2)
    assert warm[:6] == pytest.approx([0.2] * 3 + [0.6] * 3)


def test_a_decay_at_the_end_has_timms_own_length_unless_told():
    usual = rates(epochs=10, updates=2, schedule="wsd")
    # A fifth of the epochs.
    assert usual[:17] == pytest.approx([1.0] * 17)
    assert usual[17] < 1.0
    told = rates(epochs=10, updates=2, schedule="wsd", decay_epochs=5)
    assert told[:11] == pytest.approx([1.0] * 11)
    assert told[11] < 1.0


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd", "momentum", "nesterov"])
def test_the_fused_step_is_what_runs(name):
    module = Scaled()
    optimizer = create_optimizer(module, TrainingConfig(task="x", optimizer=name), 0.1)
    module.student(torch.ones(2, 3)).sum().backward()
    with torch.profiler.profile() as profile:
        optimizer.step()
    kernel = name if name.startswith("adam") else "sgd"
    assert f"aten::_fused_{kernel}_" in {event.key for event in profile.key_averages()}


def test_adagrad_has_no_fused_step_as_gpus_lack_it_in_some_versions():
    optimizer = create_optimizer(Scaled(), TrainingConfig(task="x", optimizer="adagrad"), 0.1)
    assert not any(group["fused"] for group in optimizer.param_groups)


@pytest.mark.parametrize("overflows", [False, True])
def test_a_fused_step_heeds_clipping_and_the_scale_of_fp16(overflows):
    """Against AdamW by hand, of gradients that were never scaled."""
    module, plain = Scaled(), Scaled()
    plain.load_state_dict(module.state_dict())
    config = TrainingConfig(task="x", weight_decay=0.0)
    fused = create_optimizer(module, config, 0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    images = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    for step in range(3):
        factor = float("inf") if overflows and step == 1 else 1.0
        scaler.scale(module.student(images).square().sum() * factor).backward()
        scaler.unscale_(fused)
        nn.utils.clip_grad_norm_(module.parameters(), 0.5)
        scaler.step(fused)
        scaler.update()
        fused.zero_grad()
    expected = plain_adam(plain, images, steps=2 if overflows else 3)
    for name, parameter in module.named_parameters():
        torch.testing.assert_close(parameter.detach(), expected[name], msg=name)


def plain_adam(module, images, steps, lr=0.1, clip=0.5):
    """Parameters after steps of Adam by its formula."""
    parameters = dict(module.named_parameters())
    means = {name: torch.zeros_like(p) for name, p in parameters.items()}
    squares = {name: torch.zeros_like(p) for name, p in parameters.items()}
    for step in range(1, steps + 1):
        loss = module.student(images).square().sum()
        gradients = torch.autograd.grad(loss, list(parameters.values()))
        norm = torch.stack([g.norm() for g in gradients]).norm()
        for (name, p), gradient in zip(parameters.items(), gradients, strict=True):
            gradient = gradient * min(1.0, clip / float(norm))
            means[name] = 0.9 * means[name] + 0.1 * gradient
            squares[name] = 0.999 * squares[name] + 0.001 * gradient**2
            mean, square = means[name] / (1 - 0.9**step), squares[name] / (1 - 0.999**step)
            p.data -= lr * module.lr_scale(name) * mean / (square.sqrt() + 1e-8)
    return {name: p.detach() for name, p in parameters.items()}


@pytest.mark.parametrize("fused", [True, False])
def test_moments_that_are_loaded_lie_as_their_weights_do(fused):
    def made():
        torch.manual_seed(0)
        weight = torch.nn.Parameter(
            torch.randn(4, 3, 2, 2).contiguous(memory_format=torch.channels_last)
        )
        return weight, torch.optim.AdamW([weight], lr=0.1, fused=fused)

    def step(weight, optimizer, seed):
        weight.grad = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(seed))
        weight.grad = weight.grad.contiguous(memory_format=torch.channels_last)
        optimizer.step()

    weight, optimizer = made()
    step(weight, optimizer, 1)
    state = deepcopy(optimizer.state_dict())
    state["state"][0] = {name: part.contiguous() for name, part in state["state"][0].items()}
    other, resumed = made()
    with torch.no_grad():
        other.copy_(weight)
    load_optimizer(resumed, state)
    for pair in ((weight, optimizer), (other, resumed)):
        step(*pair, 2)
    assert torch.equal(weight, other)


@pytest.mark.parametrize(
    "name",
    ["adamw", "adafactor", "adafactorbv", "lamb", "lion", "momentum", "sgd", "rmsprop", "muon",
     "adan", "nadamw", "madgrad", "adopt", "laprop", "mars"],
)  # fmt: skip
def test_the_state_of_any_optimiser_is_taken_over(name):
    def made():
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(6, 40), nn.LayerNorm(40), nn.Linear(40, 2))
        return module, create_optimizer_v2(module, opt=name, lr=1e-3, weight_decay=0.01)

    module, optimizer = made()
    for _ in range(2):
        module(torch.randn(4, 6)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    _, fresh = made()
    load_optimizer(fresh, deepcopy(optimizer.state_dict()))
    assert str(fresh.state_dict()) == str(optimizer.state_dict())
