"""Runs that go on from a checkpoint of the release's training."""

import json
import sys

import pytest
import timm
import torch
from safetensors.torch import load_file

from support.photographs import CLASSES, write_folder
from support.release_training import training_file
from vkd.api.train import train
from vkd.errors import UserError
from vkd.models.checkpoints import read_checkpoint, read_projection
from vkd.models.training_checkpoint import read_training_checkpoint
from vkd.training.checkpoint import states_of
from vkd.training.nested import load_nested
from vkd.training.records import read_metrics

api = sys.modules["vkd.api.train"]
CHANGES = {
    "input_size": 32, "student": "deit_ti_distilled", "teacher": "resnet10t",
    "teacher_layer": "layer4", "epochs": 3, "warmup_epochs": 0, "batch_size": 8, "device": "cpu",
    "trackers": "", "workers": 0, "repeated_augmentation": 1, "mixed_precision": "no",
    "drop_path": 0.0, "lr": 1e-4,
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("going-on")
    write_folder(folder / "data")
    torch.manual_seed(0)
    teacher = timm.create_model("resnet10t", num_classes=CLASSES)
    torch.save(teacher.state_dict(), folder / "teacher.pth")
    files = {"classes": CLASSES, "side": 32, "epoch": 1, "averaged": True}
    training_file("deit_ti_distilled", folder, "deit", **files)
    return folder


def begun_of(place):
    return read_training_checkpoint(place / "deit_ti_distilled-training.pth")


def changes_of(place, **more):
    changes = {"data_path": str(place / "data"), "teacher_checkpoint": str(place / "teacher.pth")}
    return CHANGES | changes | more


def went_on(place, run, begun, **more):
    return train(
        "deit-tiny-imagenet", run, begun=begun, show=False, **changes_of(place, **more)
    )  # fmt: skip


def optimizer_of(run):
    return load_nested(states_of(run)[-1] / "optimizer-0.safetensors")


def test_a_run_goes_on_with_the_next_epoch_and_resumes(place, tmp_path, caplog):
    begun = begun_of(place)
    run = tmp_path / "run"
    went_on(place, run, begun, epochs=4, lr=0.0, min_lr=0.0)
    records = read_metrics(run)
    assert [record["epoch"] for record in records] == [3, 4]
    assert [record["updates"] for record in records] == [9, 12]
    # A rate of 0 leaves the weights as they were, and the optimiser counts on.
    weights, own = load_file(run / "model.safetensors"), begun.weights.state
    assert all(weights[name].equal(own[name]) for name in own if "conv." not in name)
    steps = {float(entry["step"]) for entry in optimizer_of(run)["state"].values()}
    # 2 there and 6 here; of the projection, whose matrix has no moments there, 6.
    assert steps == {8.0, 6.0}
    assert "goes on with epoch 3" in caplog.text
    changes = changes_of(place, epochs=4, lr=0.0, min_lr=0.0)
    train("deit-tiny-imagenet", run, resume=True, show=False, **changes)
    assert read_metrics(run) == records


def test_averaged_weights_go_into_the_average(place, tmp_path):
    begun = begun_of(place)
    went_on(place, tmp_path / "run", begun, ema_decay=0.999999, lr=0.0, min_lr=0.0)
    found = load_file(tmp_path / "run" / "model.safetensors")
    torch.testing.assert_close(found["norm.weight"], begun.averaged["norm.weight"])


def test_what_is_left_out_is_said(place, tmp_path, caplog):
    went_on(place, tmp_path / "run", begun_of(place))
    # The teacher here has another width than the projector of the file.
    assert "1 of 1 tensors of projections are left out" in caplog.text
    assert "its averaged weights are left out" in caplog.text
    assert "its scale of gradients is left out" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"student": "deit_s_distilled"}, "is of deit_ti_distilled, and this run is of deit_s_dis"),
        ({"input_size": 48}, "img_size 32.*img_size 48"),
        ({"epochs": 2}, "epochs is 2.*has finished 2 epochs"),
        ({"teacher_checkpoint": ""}, "teacher"),
    ],
)
def test_a_checkpoint_of_another_kind_is_refused_and_leaves_no_folder(
    place, tmp_path, change, message
):
    with pytest.raises(UserError, match=message) as caught:
        went_on(place, tmp_path / "run", begun_of(place), **change)
    assert len(str(caught.value)) <= 300
    assert not (tmp_path / "run").exists()


def test_the_projector_becomes_the_methods(place, tmp_path):
    name = "resnet26d"  # 2048 features; the file's projector is cut to these
    file = place / "deit_ti_distilled-training.pth"
    content = torch.load(file, weights_only=False)
    start = "module.projector.parametrizations.weight."
    state = content["student"]
    state[start + "original"] = state[start + "original"][:2048].clone()
    state[start + "0.base"] = torch.linalg.qr(torch.randn(2048, 2048))[0]
    torch.save(content, tmp_path / "file.pth")
    torch.manual_seed(0)
    torch.save(timm.create_model(name, num_classes=CLASSES).state_dict(), tmp_path / "teacher.pth")
    begun = read_training_checkpoint(tmp_path / "file.pth")
    went_on(
        place, tmp_path / "run", begun, lr=0.0, min_lr=0.0, teacher=name,
        teacher_checkpoint=str(tmp_path / "teacher.pth"),
    )  # fmt: skip
    found = load_file(tmp_path / "run" / "projection.safetensors")["weight"]
    torch.testing.assert_close(found, read_projection(tmp_path / "file.pth"), atol=1e-5, rtol=0)


def test_a_run_that_goes_on_needs_no_weights_to_start_from(place, tmp_path):
    (tmp_path / "start").mkdir()
    start = tmp_path / "start" / "weights.pth"
    torch.save(read_checkpoint(place / "deit_ti_distilled-training.pth").state, start)
    changes = changes_of(place, epochs=1, student_checkpoint=str(start))
    run = tmp_path / "run"
    train("deit-tiny-imagenet", run, show=False, **changes)
    start.unlink()
    train("deit-tiny-imagenet", run, resume=True, show=False, **changes)
    recipe = json.loads(read_checkpoint(run).metadata["recipe"])
    assert recipe["student_checkpoint"] == str(start)


def test_the_step_after_is_adamws_by_hand(place, tmp_path):
    file = place / "deit_ti_distilled-training.pth"
    begun, name, rate, decay = begun_of(place), "patch_embed.proj.weight", 1e-3, 0.05
    run = tmp_path / "run"
    # One update, as all images are one batch, at a rate that does not change.
    went_on(
        place, run, begun, batch_size=24, lr=rate, min_lr=rate, lr_reference_batch=0,
        weight_decay=decay, clip_grad=0.0,
    )  # fmt: skip
    before = read_checkpoint(file).state[name].double()
    old = {key: value.double() for key, value in begun.moments[name].items()}
    entries = optimizer_of(run)["state"].values()
    (new,) = (entry for entry in entries if entry["exp_avg"].shape == before.shape)
    first, second = new["exp_avg"].double(), new["exp_avg_sq"].double()
    # The gradient is what the first moment moved by; the second must have moved by its square.
    gradient = (first - 0.9 * old["exp_avg"]) / 0.1
    assert gradient.abs().max() > 0
    expected = 0.999 * old["exp_avg_sq"] + 0.001 * gradient**2
    torch.testing.assert_close(second, expected, rtol=1e-3, atol=1e-14)
    count = float(old["step"]) + 1
    step = first / (1 - 0.9**count) / ((second / (1 - 0.999**count)).sqrt() + 1e-8)
    after = load_file(run / "model.safetensors")[name].double()
    torch.testing.assert_close(after, before * (1 - rate * decay) - rate * step, rtol=0, atol=1e-7)
    assert (after - before).abs().max() > 1e-4


def test_the_scale_of_gradients_goes_on(place, tmp_path, monkeypatch):
    make = api.make_accelerator

    def with_scaler(config):
        accelerator = make(config)
        accelerator.scaler = torch.amp.GradScaler("cpu")
        return accelerator

    monkeypatch.setattr(api, "make_accelerator", with_scaler)
    went_on(place, tmp_path / "run", begun_of(place))
    found = load_nested(states_of(tmp_path / "run")[-1] / "scaler.safetensors")
    # The file had counted one step at this scale; three are new.
    assert (found["scale"], found["_growth_tracker"]) == (1024.0, 4)
