"""The trainer: resuming, averaging, accumulation, atomic checkpoints, failures."""

import json
import re
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from timm.models import register_model

from support.canvases import few_canvases
from support.gan import small_gan
from support.runs import require_equal_runs
from vkd.api.train import train
from vkd.errors import FieldError, RunError, UserError
from vkd.models.factory import create_model
from vkd.models.small import conv_vit_digits
from vkd.projection import orthogonality_error
from vkd.recipe import config_of, read_recipe
from vkd.training import trainer as trainer_module
from vkd.training.checkpoint import states_of
from vkd.training.records import read_metrics


@pytest.fixture
def config(digits_teacher):
    values = read_recipe("digits") | {
        "epochs": 4, "warmup_epochs": 1, "device": "cpu", "checkpoint_every": 1,
        "evaluate_every": 1, "teacher_checkpoint": str(digits_teacher), "trackers": "",
        "crop_padding": 1, "ema_decay": 0.9,
    }  # fmt: skip
    return config_of(values)


class Killed(BaseException):
    """Stands for the end of the process; nothing may catch it."""


def kill_in_epoch(monkeypatch, epoch):
    original = trainer_module.RunLog.step
    count = 0

    def step(log):
        nonlocal count
        count += 1
        if count > (epoch - 1) * log.shape.steps + 3:
            raise Killed
        original(log)

    monkeypatch.setattr(trainer_module.RunLog, "step", step)


@pytest.mark.parametrize(
    "changes",
    [
        {"crop_padding": 0},  # the teacher is asked but once
        {"crop_padding": 1},
        {"crop_padding": 1, "workers": 2},
        {"crop_padding": 1, "workers": 1, "augment_on_device": True, "mixup": 0.5},
    ],
)
def test_a_resumed_run_ends_with_the_same_bits(config, changes, tmp_path, monkeypatch):
    config = replace(config, **changes)
    train(config, tmp_path / "whole", show=False)
    with monkeypatch.context() as patch:
        kill_in_epoch(patch, 3)
        with pytest.raises(Killed):
            train(config, tmp_path / "broken", show=False)
    assert len(read_metrics(tmp_path / "broken")) == 2
    train(config, tmp_path / "broken", resume=True, show=False)
    require_equal_runs(tmp_path / "whole", tmp_path / "broken")


def test_another_seed_gives_other_weights(config, tmp_path):
    short = replace(config, epochs=2)
    train(short, tmp_path / "a", show=False)
    train(replace(short, seed=1), tmp_path / "b", show=False)
    a, b = (load_file(tmp_path / name / "model.safetensors") for name in "ab")
    assert not torch.equal(a["head.weight"], b["head.weight"])


def test_a_run_is_not_overwritten_and_its_settings_cannot_change(config, tmp_path):
    short = replace(config, epochs=2)
    train(short, tmp_path / "run", show=False)
    with pytest.raises(UserError, match=r"already holds a run.*--resume"):
        train(short, tmp_path / "run", show=False)
    with pytest.raises(UserError, match=rf"lr is 0.5 but the run .* has {config.lr}"):
        train(replace(short, lr=0.5), tmp_path / "run", resume=True, show=False)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="is not a run"):
        train(short, tmp_path / "mine", show=False)


@pytest.mark.parametrize(
    ("changes", "samples"),
    [
        ({}, 718),
        ({"train_fraction": 0.25}, 180),
        ({"label_fraction": 0.1, "feature_weight": 0.0, "logit_weight": 0.0}, 72),
    ],
)
def test_a_batch_that_is_never_full_is_an_error_with_both_numbers(
    config, changes, samples, tmp_path
):
    own = replace(config, batch_size=719, **changes)
    with pytest.raises(FieldError, match=f"batch_size is 719 and there are {samples} training"):
        train(own, tmp_path)


def test_the_projection_of_a_run_is_orthonormal_and_not_in_its_weights(config, tmp_path):
    train(replace(config, epochs=2), tmp_path / "run", show=False)
    weight = load_file(tmp_path / "run" / "projection.safetensors")["weight"]
    assert weight.shape == (128, 32)
    assert orthogonality_error(weight) <= 1e-5
    state = load_file(tmp_path / "run" / "model.safetensors")
    assert not any("projection" in key or "teacher" in key for key in state)


def test_accumulation_divides_the_updates_and_reaches_the_last_rate(config, tmp_path):
    steps = 718 // 64
    train(replace(config, accumulation=3, min_lr=1e-5), tmp_path / "run", show=False)
    last = read_metrics(tmp_path / "run")[-1]
    assert last["updates"] == 4 * -(-steps // 3)
    assert last["lr"] == pytest.approx(1e-5)


def test_warm_up_and_peak_reach_the_optimiser(config, tmp_path):
    train(replace(config, warmup_epochs=2, lr=3e-3), tmp_path / "run", show=False)
    rates = [record["lr"] for record in read_metrics(tmp_path / "run")]
    assert rates[0] < rates[1] > rates[2] > rates[3]
    assert 2e-3 < rates[1] <= 3e-3


def test_a_diverging_run_stops_and_keeps_its_last_checkpoint(config, tmp_path, monkeypatch):
    run = tmp_path / "run"
    reduced = trainer_module.Trainer._record

    def diverge(trainer, progress):
        if progress.epoch == 2:
            trainer._sums.terms.add({"label": torch.tensor(float("nan"))})
        return reduced(trainer, progress)

    monkeypatch.setattr(trainer_module.Trainer, "_record", diverge)
    with pytest.raises(RunError, match=r"label is nan in epoch 3; lower lr"):
        train(config, run, show=False)
    saved = json.loads((run / "checkpoints" / "epoch-00002" / "progress.json").read_text())
    assert saved["epoch"] == 2


def test_a_teacher_without_weights_is_an_error_that_names_the_flag(config, tmp_path):
    orphan = replace(config, teacher_checkpoint="", teacher_recipe="")
    with pytest.raises(UserError, match="teacher_checkpoint"):
        train(orphan, tmp_path / "run", show=False)


@register_model
def shallow_vit_digits(pretrained=False, **kwargs):
    """The digits' student with a single block, which compiles sooner."""
    return conv_vit_digits(**(kwargs | {"depth": 1}))


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.slow
def test_a_compiled_student_trains_as_a_plain_one(config, tmp_path):
    config = replace(
        config, student="shallow_vit_digits", epochs=2, evaluate_every=2, channels_last=True
    )
    train(config, tmp_path / "plain", show=False)
    train(replace(config, compile=True), tmp_path / "compiled", show=False)
    plain, compiled = (read_metrics(tmp_path / name) for name in ("plain", "compiled"))
    for one, other in zip(plain, compiled, strict=True):
        assert other["train"]["loss"] == pytest.approx(one["train"]["loss"], rel=2e-2)


def test_the_rate_follows_the_images_of_a_step(config, tmp_path):
    config = replace(config, epochs=1, warmup_epochs=0, schedule="step", lr_reference_batch=32)
    train(replace(config, accumulation=2), tmp_path / "run", show=False)
    record = read_metrics(tmp_path / "run")[0]
    assert record["lr"] == pytest.approx(config.lr * 64 * 2 / 32)


def test_the_projection_lives_under_weight_decay(config, tmp_path):
    config = replace(config, weight_decay=10.0, epochs=2)
    train(config, tmp_path / "run", show=False)
    weight = load_file(tmp_path / "run" / "projection.safetensors")["weight"]
    assert orthogonality_error(weight) < 1e-5


DIVERGING = {"epochs": 3, "warmup_epochs": 0, "device": "cpu", "trackers": "", "clip_grad": 0.0}
FAULT = (
    r"^((The loss term \w+ is (nan|-?inf)|The (norm of the )?gradient .*is no finite number) "
    r"at update \d+ \([^()]*\)|The loss term \w+ exploded to \S+|"
    r"A weight is no finite number any more) "
)
SENTENCE = FAULT + r"in epoch 1; lower lr or set clip_grad\. There was no checkpoint"


@pytest.mark.parametrize(
    "method", ["vkd", "linear", "mlp", "kd", "dkd", "dist", "rkd", "crd", "srd"]
)
@pytest.mark.parametrize("rollbacks", [0, 2])
def test_a_run_that_diverges_ends_in_the_trainers_sentence(
    digits_teacher, tmp_path, method, rollbacks
):
    changes = DIVERGING | {"teacher_checkpoint": str(digits_teacher), "lr": 1e6, "optimizer": "sgd"}
    with pytest.raises(RunError, match=SENTENCE) as error:
        train("digits", tmp_path / "run", show=False, method=method, rollbacks=rollbacks, **changes)
    assert len(str(error.value)) <= 300


@pytest.mark.parametrize("projection", ["orthogonal", "linear"])
@pytest.mark.parametrize("normalization", ["standardize", "whiten", "layer_norm", "identity"])
def test_no_normalisation_hides_that_a_run_diverges(
    digits_teacher, tmp_path, projection, normalization
):
    changes = DIVERGING | {"teacher_checkpoint": str(digits_teacher), "lr": 1000.0}
    with pytest.raises(RunError, match=SENTENCE):
        train("digits", tmp_path / "run", show=False, projection=projection,
              normalization=normalization, **changes)  # fmt: skip


def test_a_detector_that_diverges_ends_in_the_trainers_sentence(tmp_path):
    detector = create_model("vidt_digits", num_classes=10)
    save_file(detector.state_dict(), tmp_path / "teacher.safetensors")
    changes = DIVERGING | {"teacher": "vidt_digits", "lr": 1e6, "batch_size": 4,
                           "teacher_checkpoint": str(tmp_path / "teacher.safetensors")}  # fmt: skip
    with few_canvases(12, 8, 8), pytest.raises(RunError, match=SENTENCE):
        train("digits-detection", tmp_path / "run", show=False, **changes)


def test_a_gan_that_diverges_ends_in_the_trainers_sentence(digits_teacher, tmp_path):
    networks = dict.fromkeys(("teacher_checkpoint", "extractor_checkpoint"), str(digits_teacher))
    for number, lr in enumerate((1e4, 1e9, 1e30)):
        with pytest.raises(RunError, match=SENTENCE):
            train(small_gan(**networks, lr=lr), tmp_path / f"run{number}", show=False)


@pytest.mark.parametrize("poisoned", ["weights", "gradients"])
def test_a_run_that_diverges_once_goes_back_and_on(config, tmp_path, monkeypatch, poisoned):
    original, spoilt = trainer_module.Trainer._optimizer_step, []

    def step(trainer, index, batch, progress):
        terms = original(trainer, index, batch, progress)
        last = progress.updates == 3 * trainer.updates_per_epoch - 1
        due = last if poisoned == "weights" else progress.updates == 2 * trainer.updates_per_epoch
        if due and not spoilt:
            spoilt.append(progress.updates)
            with torch.no_grad():
                next(trainer.modules[index].parameters()).fill_(float("nan"))
        return terms

    monkeypatch.setattr(trainer_module.Trainer, "_optimizer_step", step)
    metrics = train(replace(config, rollbacks=1), tmp_path / "run", show=False)
    assert len(spoilt) == 1
    assert metrics["accuracy"] > 20
    records = read_metrics(tmp_path / "run")
    assert [record["epoch"] for record in records] == [1, 2, 3, 4]
    (note,) = (tmp_path / "run" / "notes.txt").read_text().splitlines()
    assert re.search(r" in epoch 3; resuming from epoch 2 with other random numbers", note)
    state = states_of(tmp_path / "run")[-1]
    assert json.loads((state / "progress.json").read_text())["rollbacks"] == 1
    weights = load_file(tmp_path / "run" / "model.safetensors")
    assert all(weight.isfinite().all() for weight in weights.values())


def test_the_decay_of_averaged_weights_grows_linearly_to_its_end(config, tmp_path, monkeypatch):
    found = []
    original = trainer_module.ModelEmaV3.update

    def update(average, model):
        found.append(average.decay)
        original(average, model)

    monkeypatch.setattr(trainer_module.ModelEmaV3, "update", update)
    config = replace(config, epochs=2, ema_decay=0.9, ema_decay_end=1.0)
    train(config, tmp_path / "run", show=False)
    count = len(found)
    assert found == pytest.approx([0.9 + 0.1 * step / count for step in range(1, count + 1)])
