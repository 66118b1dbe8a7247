"""Detectors in training."""

import pytest
import torch
from safetensors.torch import load_file

from support.canvases import few_canvases
from vkd import create_model
from vkd.api.evaluate import evaluate
from vkd.api.train import train
from vkd.detection.task import DetectionTask
from vkd.recipe import config_of, read_recipe
from vkd.training.optimization import create_optimizer


def test_projections_and_tokens_are_not_decayed_and_the_body_has_its_own_rate(tmp_path):
    torch.save(create_model("vidt_digits_large").state_dict(), tmp_path / "t.pth")
    values = read_recipe("digits-detection")
    values |= {"teacher_checkpoint": str(tmp_path / "t.pth"), "backbone_lr": 0.1}
    module = DetectionTask(config_of(values)).steps[0].module
    optimizer = create_optimizer(module, module.config, 1e-3)
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    named = dict(module.named_parameters())
    assert set(groups) == {id(p) for p in named.values()}
    for name, parameter in named.items():
        group = groups[id(parameter)]
        if name.startswith("token_loss.") or "det_token" in name or parameter.ndim == 1:
            assert group["weight_decay"] == 0, name
        body = name.startswith("student.backbone.") and ".det_" not in name
        assert group["lr"] == pytest.approx(1e-4 if body else 1e-3), name
    assert not any("teacher" in name for name in module.state_dict())


@pytest.fixture(scope="module", autouse=True)
def _few_canvases():
    with few_canvases(12, 8, 8):
        yield


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"ema_decay": 0.9, "accumulation": 2},
        {"fusion": True},
        {"mixed_precision": "bf16", "auxiliary_losses": False},
        {"iou_weight": 1.0},
        {"architecture": "vidt_wo_neck"},
    ],
)
def test_a_resumed_run_ends_at_the_same_weights_bit_for_bit(changes, tmp_path, train_in_two_parts):
    values = read_recipe("digits-detection-teacher") | {
        "student": "vidt_digits", "epochs": 2, "batch_size": 4, "device": "cpu",
        "checkpoint_every": 1, "warmup_epochs": 0, "augmentation": "flip", "trackers": "",
    }  # fmt: skip
    config = config_of(values | changes)
    train(config, tmp_path / "whole", show=False)
    train_in_two_parts(config, tmp_path / "parts")
    first, second = (load_file(tmp_path / n / "model.safetensors") for n in ("whole", "parts"))
    assert first.keys() == second.keys()
    for name, weight in first.items():
        assert weight.equal(second[name]), name
    # A run folder tells all options of its model.
    evaluate(str(tmp_path / "parts"), device="cpu")
