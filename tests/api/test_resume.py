"""What may move, and what may not change, when a run is resumed."""

import shutil

import pytest
import timm
import torch

from support.photographs import write_folder
from vkd.api.train import train
from vkd.errors import UserError
from vkd.recipe import recipe
from vkd.training.checkpoint import read_metrics


@pytest.fixture
def begun(tmp_path, interrupted):
    """A distilled run that was interrupted after its first of two epochs; returns its changes."""
    write_folder(tmp_path / "data")
    network = timm.create_model("resnet10t", num_classes=3)
    torch.save(network.state_dict(), tmp_path / "teacher.pth")
    changes = {
        "data_path": str(tmp_path / "data"), "input_size": 32, "student": "test_vit",
        "student_layer": "norm", "teacher": "resnet10t", "teacher_layer": "layer4",
        "teacher_checkpoint": str(tmp_path / "teacher.pth"), "epochs": 2, "warmup_epochs": 0,
        "batch_size": 8, "device": "cpu", "trackers": "", "workers": 0, "mixup": 0.0, "cutmix": 0.0,
        "repeated_augmentation": 1, "mixed_precision": "no", "drop_path": 0.0,
    }  # fmt: skip
    interrupted(recipe("deit-tiny-imagenet", **changes), tmp_path / "run")
    return changes


def resumed(folder, changes):
    return train("deit-tiny-imagenet", folder / "run", resume=True, show=False, **changes)


def test_a_run_goes_on_after_data_and_teacher_moved(begun, tmp_path):
    shutil.move(tmp_path / "data", tmp_path / "elsewhere")
    shutil.move(tmp_path / "teacher.pth", tmp_path / "t.pth")
    places = {
        "data_path": str(tmp_path / "elsewhere"), "teacher_checkpoint": str(tmp_path / "t.pth")
    }  # fmt: skip
    resumed(tmp_path, begun | places)
    assert len(read_metrics(tmp_path / "run")) == 2


def test_a_run_does_not_go_on_with_other_pictures(begun, tmp_path):
    next((tmp_path / "data" / "train").rglob("*.JPEG")).unlink()
    with pytest.raises(UserError, match="data_path holds something else than when the run"):
        resumed(tmp_path, begun)


def test_a_run_does_not_go_on_with_another_teacher(begun, tmp_path):
    network = timm.create_model("resnet10t", num_classes=3)
    torch.save(network.state_dict(), tmp_path / "teacher.pth")
    with pytest.raises(UserError, match="teacher_checkpoint holds something else"):
        resumed(tmp_path, begun)


def test_what_is_computed_still_cannot_change(begun, tmp_path):
    with pytest.raises(UserError, match=r"lr is 0\.5 but the run"):
        resumed(tmp_path, begun | {"lr": 0.5})
