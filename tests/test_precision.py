"""How a device's precision is measured, and frozen networks that run in it."""

import pytest
import timm
import torch
from torch import nn

import vkd
from vkd.detection.tokens import TokenTeacher
from vkd.precision import AS_AROUND, CLEARLY, FLOAT32, STATED, Precision, choose, measure
from vkd.teacher import NetworkTeacher

CPU = torch.device("cpu")
BFLOAT16 = STATED["bfloat16"]


@pytest.mark.parametrize("times", [0.1, 0.9, 1.0, CLEARLY - 0.01, CLEARLY + 0.01, 20.0])
def test_a_precision_is_taken_only_where_it_is_clearly_faster(times):
    chosen = choose({FLOAT32: 1.0, BFLOAT16: 1 / times})
    assert chosen == (BFLOAT16 if times > CLEARLY else FLOAT32)


class Scripted:
    """A timer by which an image takes so many seconds in each type, now and then far more.

    Attributes:
        order: what was timed, by the type of its output.
    """

    def __init__(self, **seconds):
        self.seconds, self.order, self.outputs = seconds, [], {}

    def __call__(self, function):
        # Once each, as it may be slow here.
        if function not in self.outputs:
            self.outputs[function] = function()
        output = self.outputs[function]
        name = str(output.dtype).removeprefix("torch.")
        self.order.append(name)
        interrupted = 50 if len(self.order) % 3 == 0 else 1
        return self.seconds[name] * len(output) * interrupted


def test_interruptions_do_not_count_and_candidates_take_turns():
    timer = Scripted(float32=2e-3, bfloat16=1e-3)
    found = measure(CPU, [FLOAT32, BFLOAT16], timer)
    assert found == pytest.approx({FLOAT32: 2e-3, BFLOAT16: 1e-3})
    assert timer.order[1:] == ["float32", "bfloat16"] * (len(timer.order) // 2)


def test_the_work_grows_until_it_can_be_measured():
    timer = Scripted(float32=0.6e-3, bfloat16=0.1e-3)
    found = measure(CPU, [FLOAT32, BFLOAT16], timer)
    # Four images: with two it would take 1.2 of the 2 milliseconds that it should.
    assert found == pytest.approx({FLOAT32: 2.4e-3, BFLOAT16: 0.4e-3})


def test_a_device_that_is_very_slow_in_one_is_not_waited_for():
    timer = Scripted(float32=2e-3, bfloat16=5.0)
    found = measure(CPU, [FLOAT32, BFLOAT16], timer)
    assert timer.order == ["float32", "float32", "bfloat16"]
    assert choose(found) == FLOAT32


def test_measuring_leaves_random_numbers_and_finds_times():
    before = torch.get_rng_state()
    found = measure(CPU, [FLOAT32, Precision(torch.bfloat16), BFLOAT16])
    assert torch.equal(torch.get_rng_state(), before)
    assert all(0 < seconds < 60 for seconds in found.values())


def network():
    torch.manual_seed(0)
    return timm.create_model("resnet10t", num_classes=7)


def distance(found, expected):
    """The relative distance of two tensors."""
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("around", [torch.float32, torch.bfloat16])
def test_a_network_in_bfloat16_is_left_as_it_is_and_answers_nearly_the_same(around):
    model, images = network(), torch.randn(4, 3, 64, 64)
    before = {name: (p.data_ptr(), p.dtype, p.stride()) for name, p in model.named_parameters()}
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    teacher = NetworkTeacher(model, "layer4")
    expected, seen = teacher(images), []
    model.layer4.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
    teacher.precision = BFLOAT16
    with torch.autocast("cpu", torch.bfloat16, enabled=around == torch.bfloat16):
        found = teacher(images)
    ((inside, after),) = seen
    assert (inside.dtype, after.dtype) == (torch.bfloat16, torch.bfloat16)
    assert inside.is_contiguous(memory_format=torch.channels_last)
    assert (found.only.dtype, found.logits.dtype) == (torch.float32, torch.float32)
    # A bfloat16 has eight bits, so that each rounding errs by 0.2 % at most.
    assert 1e-5 < distance(found.only, expected.only) < 0.02
    assert 1e-5 < distance(found.logits, expected.logits) < 0.02
    after = {name: (p.data_ptr(), p.dtype, p.stride()) for name, p in model.named_parameters()}
    assert after == before
    assert all(torch.equal(weights[k], tensor) for k, tensor in model.state_dict().items())


def test_float32_that_is_stated_holds_inside_autocast():
    model, images = network(), torch.randn(4, 3, 64, 64)
    teacher = NetworkTeacher(model, "layer4")
    expected = teacher(images)
    with torch.autocast("cpu", torch.bfloat16):
        around = teacher(images)
        teacher.precision = FLOAT32
        stated = teacher(images)
    assert around.logits.dtype == torch.bfloat16
    assert torch.equal(stated.only, expected.only)
    assert torch.equal(stated.logits, expected.logits)


def test_inputs_that_are_no_images_are_taken_as_they_are():
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    teacher = NetworkTeacher(model, "1")
    teacher.precision = BFLOAT16
    assert teacher(torch.randn(4, 6)).only.dtype == torch.float32
    assert teacher((torch.randn(4, 6),)).logits.shape == (4, 3)


def test_a_teacher_of_tokens_in_bfloat16_answers_nearly_the_same():
    torch.manual_seed(0)
    model = vkd.create_model("vidt_digits")
    images, mask = torch.randn(2, 3, 64, 64), torch.zeros(2, 64, 64, dtype=torch.bool)
    expected = TokenTeacher(model, AS_AROUND)(images, mask)
    found = TokenTeacher(model, BFLOAT16)(images, mask)
    pairs = zip([*found.patches, *found[1:]], [*expected.patches, *expected[1:]], strict=True)
    for ours, theirs in pairs:
        assert ours.dtype == torch.float32
        assert 1e-5 < distance(ours, theirs) < 0.05
