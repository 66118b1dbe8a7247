"""The precision of a run's teacher: chosen, said, kept, and the same in all its processes."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from support.canvases import few_canvases
from support.gan import small_gan
from vkd.api.cache import cache
from vkd.api.train import train
from vkd.errors import FieldError, UserError
from vkd.models.factory import create_model
from vkd.precision import AS_AROUND, FLOAT32, Precision
from vkd.recipe import config_of, read_recipe, recipe
from vkd.store.description import describe
from vkd.teacher import NetworkTeacher
from vkd.training import precision
from vkd.training.accelerator import make_accelerator

BFLOAT16 = Precision(torch.bfloat16, channels_last=True)


@pytest.fixture
def device(monkeypatch):
    """Let the device be so many times as fast in low precision as in float32."""

    def set_speed(times, times_with_channels_last=None):
        last = times_with_channels_last or times

        def measured(_, dtype):
            return {
                FLOAT32: 1.0, Precision(dtype): 1 / times, Precision(dtype, True): 1 / last,
            }  # fmt: skip

        monkeypatch.setattr(precision, "_measured", measured)

    return set_speed


@pytest.fixture
def seen(monkeypatch):
    """The precision of each call of a network teacher."""
    found = []
    original = NetworkTeacher.__call__

    def call(teacher, images, indices=None):
        found.append(teacher.precision)
        return original(teacher, images, indices)

    monkeypatch.setattr(NetworkTeacher, "__call__", call)
    return found


@pytest.fixture
def config(digits_teacher):
    """A short run whose teacher runs in every step."""
    return recipe(
        "digits", teacher_checkpoint=str(digits_teacher), crop_padding=1, epochs=2,
        warmup_epochs=0, device="cpu", trackers="", checkpoint_every=1, train_fraction=0.3,
    )  # fmt: skip


def weights_of(run):
    names = [file.name for file in run.glob("*.safetensors")]
    return {name: load_file(run / name) for name in names}


def is_equal(first, second):
    """Whether the weights of two runs have the same bits."""
    ours, theirs = weights_of(first), weights_of(second)
    assert ours.keys() == theirs.keys()
    return all(
        torch.equal(tensor, theirs[name][key])
        for name, part in ours.items()
        for key, tensor in part.items()
    )


@pytest.mark.parametrize(
    ("times", "chosen", "sentence"),
    [
        (2.5, BFLOAT16, "runs in bfloat16 with channels last (2.5 times as fast here"),
        (1.2, FLOAT32, "runs in float32, as bfloat16 is only 1.20 times as fast here."),
        (0.05, FLOAT32, "runs in float32, as bfloat16 takes 20.0 times as long here."),
    ],
)
def test_a_teacher_of_every_step_is_chosen_and_said(
    config, tmp_path, device, seen, caplog, times, chosen, sentence
):
    device(times)
    train(replace(config, epochs=1), tmp_path / "run", show=False)
    assert seen.count(AS_AROUND) == 1  # to learn its widths
    assert {*seen} == {AS_AROUND, chosen}
    assert sentence in caplog.text
    record = json.loads((tmp_path / "run" / "precision.json").read_text())
    assert record["teacher"] == {
        "dtype": str(chosen.dtype).removeprefix("torch."), "channels_last": chosen.channels_last,
    }  # fmt: skip


def classification(teacher, folder):
    return recipe(
        "digits", teacher_checkpoint=str(teacher), crop_padding=1, ema_decay=0.9, epochs=2,
        warmup_epochs=0, device="cpu", trackers="", checkpoint_every=1, channels_last=True,
    )  # fmt: skip


def detection(teacher, folder):
    file = folder / "teacher.pth"
    torch.save(create_model("vidt_digits_large").state_dict(), file)
    changes = {
        "epochs": 2, "batch_size": 4, "device": "cpu", "checkpoint_every": 1, "warmup_epochs": 0,
        "augmentation": "flip", "trackers": "", "teacher_checkpoint": str(file),
        "channels_last": True,
    }  # fmt: skip
    return config_of(read_recipe("digits-detection") | changes)


def generation(teacher, folder):
    return small_gan(teacher_checkpoint=str(teacher), extractor_checkpoint=str(teacher))


@pytest.mark.parametrize(
    "task", [classification, pytest.param(detection, marks=pytest.mark.slow), generation]
)
def test_a_resumed_run_keeps_its_choice_and_ends_with_the_same_bits(
    task, digits_teacher, tmp_path, device, interrupted, caplog
):
    config = task(digits_teacher, tmp_path)
    with few_canvases(12, 8, 8):
        device(2.5)
        train(config, tmp_path / "whole", show=False)
        interrupted(config, tmp_path / "parts")
        # As if it went on where bfloat16 is slow, which is said.
        device(0.1)
        train(config, tmp_path / "parts", resume=True, show=False)
        said = "The teacher runs in bfloat16: bfloat16 takes 10.0 times as long as float32 on this"
        assert said in caplog.text
        train(config, tmp_path / "float32", show=False)
    assert is_equal(tmp_path / "whole", tmp_path / "parts")
    assert not is_equal(tmp_path / "whole", tmp_path / "float32")


def test_a_run_of_an_earlier_version_goes_on_as_it_began(config, tmp_path, device, interrupted):
    device(0.5)
    train(config, tmp_path / "whole", show=False)
    interrupted(config, tmp_path / "parts")
    (tmp_path / "parts" / "precision.json").unlink()
    device(2.5)
    train(config, tmp_path / "parts", resume=True, show=False)
    assert is_equal(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"teacher": 3}', '{"teacher": {"dtype": "int8"}}']
)
def test_a_damaged_choice_is_a_sentence(config, tmp_path, interrupted, content):
    interrupted(config, tmp_path / "run")
    (tmp_path / "run" / "precision.json").write_text(content)
    with pytest.raises(UserError, match=r"precision\.json (is damaged|does not say)") as error:
        train(config, tmp_path / "run", resume=True, show=False)
    assert "\n" not in str(error.value)


def test_what_is_stated_holds_and_nothing_is_measured(config, tmp_path, monkeypatch, seen):
    monkeypatch.delattr(precision, "_measured")
    stated = replace(config, epochs=1, teacher_precision="float32")
    train(stated, tmp_path / "run", show=False)
    assert {*seen} == {FLOAT32}
    assert not (tmp_path / "run" / "precision.json").exists()


def test_a_teacher_that_runs_once_is_not_measured_and_stays_in_float32_unless_told(
    config, tmp_path, device, monkeypatch, seen
):
    once = replace(config, epochs=1, crop_padding=0)
    with monkeypatch.context() as patch:
        patch.delattr(precision, "_measured")
        train(once, tmp_path / "run", show=False)
    assert {*seen} == {AS_AROUND}
    seen.clear()
    device(2.0)
    train(replace(once, teacher_precision="bfloat16"), tmp_path / "told", show=False)
    assert {*seen} == {BFLOAT16}


def test_a_store_is_of_the_precision_that_is_stated(config, tmp_path, seen):
    small = replace(config, batch_size=32)
    cache(small, tmp_path / "plain", views=1, show=False)
    assert {*seen} == {AS_AROUND}
    seen.clear()
    told = replace(small, teacher_precision="bfloat16")
    cache(told, tmp_path / "told", views=1, show=False)
    assert {*seen} == {BFLOAT16}
    assert describe(tmp_path / "told").recipe["teacher_precision"] == "bfloat16"
    with pytest.raises(UserError, match="holds"):
        cache(told, tmp_path / "plain", views=1, show=False)
    stored = replace(config, epochs=1, teacher_store=str(tmp_path / "told"))
    train(stored, tmp_path / "run", show=False)
    with pytest.raises(FieldError, match="teacher_precision has no effect with teacher_store"):
        train(replace(stored, teacher_precision="float32"), tmp_path / "no", show=False)


@pytest.mark.parametrize(("last", "expected"), [(2.1, False), (4.0, True)])
def test_under_mixed_precision_the_teacher_computes_as_the_step(
    config, tmp_path, device, seen, caplog, last, expected
):
    device(2.0, last)
    train(replace(config, epochs=1, mixed_precision="bf16"), tmp_path / "run", show=False)
    assert seen[-1] == Precision(None, expected)
    assert "takes" not in caplog.text


def test_mixed_precision_that_is_slow_here_is_said_with_the_factor(
    config, tmp_path, device, caplog
):
    device(0.06)
    alone = replace(config, epochs=1, mixed_precision="bf16", method="none", feature_weight=0.0)
    train(alone, tmp_path / "run", show=False)
    sentence = "mixed_precision bf16: bfloat16 takes 16.7 times as long as float32 on this cpu"
    assert caplog.text.count(sentence) == 1


def test_ones_own_teacher_keeps_its_float32_weights(config, tmp_path, device, digits_teacher):
    device(2.5)
    own = create_model("cnn_digits", str(digits_teacher))
    before = {k: (t.clone(), t.stride()) for k, t in own.state_dict().items()}
    changes = replace(config, epochs=1, teacher_checkpoint="", teacher_recipe="")
    train(changes, tmp_path / "run", show=False, teacher=own)
    record = json.loads((tmp_path / "run" / "precision.json").read_text())
    assert record["teacher"]["dtype"] == "bfloat16"
    for name, tensor in own.state_dict().items():
        weight, stride = before[name]
        assert (tensor.dtype, tensor.stride()) == (weight.dtype, stride)
        assert torch.equal(tensor, weight)


def test_a_function_as_teacher_decides_for_itself(config, tmp_path, device, digits_teacher):
    device(2.5)
    network = NetworkTeacher(create_model("cnn_digits", str(digits_teacher)), "")
    train(replace(config, epochs=1), tmp_path / "run", show=False, teacher=network)
    assert network.precision == AS_AROUND
    stated = replace(config, teacher_precision="bfloat16")
    with pytest.raises(FieldError, match="teacher_precision has no effect with a teacher that is"):
        train(stated, tmp_path / "stated", show=False, teacher=network)


def test_one_device_is_measured_once_by_a_process(config, monkeypatch):
    precision._measured.cache_clear()
    calls = []
    monkeypatch.setattr(precision, "measure", lambda *found: calls.append(found) or {})
    cpu = make_accelerator(config).device
    assert precision._measured(cpu, torch.bfloat16) == precision._measured(cpu, torch.bfloat16)
    assert len(calls) == 1
    precision._measured.cache_clear()
