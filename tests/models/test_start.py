"""Starting from weights of other classes, and weights out of wrappers."""

import pathlib

import pytest
import timm
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from vkd.errors import UserError
from vkd.models.checkpoints import load_checkpoint, read_checkpoint
from vkd.models.factory import create_model
from vkd.models.start import start_from


def resnet(classes=3):
    return timm.create_model("resnet10t", num_classes=classes)


def save(folder, content):
    torch.save(content, folder / "weights.pth")
    return folder / "weights.pth"


def test_all_but_the_head_is_taken_and_said(tmp_path, caplog):
    caplog.set_level("INFO")
    source, model = resnet(3), resnet(5)
    before = model.fc.weight.clone()
    start_from(model, "resnet10t", save(tmp_path, source.state_dict()))
    torch.testing.assert_close(model.layer4[0].conv1.weight, source.layer4[0].conv1.weight)
    torch.testing.assert_close(model.fc.weight, before)
    assert "fc.weight, fc.bias start anew" in caplog.text


def test_a_detector_starts_another_with_other_classes(tmp_path, caplog):
    caplog.set_level("INFO")
    source = create_model("vidt_digits", num_classes=91)
    model = create_model("vidt_digits", num_classes=2)
    start_from(model, "vidt_digits", save(tmp_path, {"model": source.state_dict()}))
    torch.testing.assert_close(model.backbone.det_token, source.backbone.det_token)
    assert "class_embed.0.weight" in caplog.text


def test_weights_of_another_model_are_refused(tmp_path):
    with pytest.raises(UserError, match="weights of another model"):
        start_from(resnet(), "resnet10t", save(tmp_path, {"a.weight": torch.zeros(3)}))


class Lightning(nn.Module):
    def __init__(self, name):
        super().__init__()
        setattr(self, name, resnet())
        self.criterion = nn.Linear(2, 2)
        self.teacher = resnet()


def lightning(name):
    module = Lightning(name)
    return getattr(module, name), {"state_dict": module.state_dict(), "epoch": 3}


def wrapped(wrap):
    model = resnet()
    return model, wrap(model)


WRAPPED = {
    "DataParallel": lambda: wrapped(lambda m: {"model": nn.DataParallel(m).state_dict()}),
    "torch.compile": lambda: wrapped(lambda m: torch.compile(m).state_dict()),
    "both": lambda: wrapped(lambda m: nn.DataParallel(torch.compile(m)).state_dict()),
    "averaged": lambda: wrapped(lambda m: AveragedModel(m).state_dict()),
    "averaged DataParallel": lambda: wrapped(
        lambda m: {"state_dict": AveragedModel(nn.DataParallel(m)).state_dict()}
    ),
    "Lightning model": lambda: lightning("model"),
    "Lightning student": lambda: lightning("student"),
    "Lightning net": lambda: lightning("net"),
    "a path beside": lambda: wrapped(
        lambda m: {"state_dict": m.state_dict(), "output": pathlib.PosixPath("/x/y")}
    ),
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_weights_come_out_of_their_wrappers(tmp_path, kind):
    model, content = WRAPPED[kind]()
    found = load_checkpoint(resnet(), save(tmp_path, content)).state_dict()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(found[name], value)


@pytest.mark.parametrize("averaged", ["state_dict_ema", "model_ema"])
def test_averaged_weights_are_preferred_as_timm_does(tmp_path, averaged):
    plain, mean = resnet(), resnet()
    file = save(tmp_path, {"state_dict": plain.state_dict(), averaged: mean.state_dict()})
    expected = timm.models.load_state_dict(str(file))
    found = read_checkpoint(file).state
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)
    torch.testing.assert_close(found["fc.weight"], mean.fc.weight.detach())
