"""States: whole or skipped with a word, kept by number, exact in the middle of an epoch."""

import json
import shutil
from collections import namedtuple
from dataclasses import replace

import pytest

from support.canvases import few_canvases
from support.gan import small_gan
from support.runs import records_of, require_equal_runs
from vkd.api.evaluate import evaluate
from vkd.api.train import train
from vkd.errors import RunError, UserError
from vkd.recipe import recipe
from vkd.training import checkpoint, trainer
from vkd.training.checkpoint import states_of

ALONE = {
    "method": "none", "feature_weight": 0.0, "warmup_epochs": 0, "device": "cpu", "trackers": "",
    "crop_padding": 1, "batch_size": 128, "epochs": 3, "checkpoint_every": 1, "evaluate_every": 1,
}  # fmt: skip


class Killed(BaseException):
    """Stands for the end of the process; nothing may catch it."""


@pytest.fixture
def killed(monkeypatch):
    """Train a config into a folder until a step of an update begins."""

    def run(config, folder, update, resume=False):
        original = trainer.Trainer._train_step

        def step(self, batch, progress):
            if progress.updates == update:
                raise Killed
            return original(self, batch, progress)

        with monkeypatch.context() as patch:
            patch.setattr(trainer.Trainer, "_train_step", step)
            with pytest.raises(Killed):
                train(config, folder, resume=resume, show=False)

    return run


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ema_decay": 0.9, "accumulation": 2},
        {"augment_on_device": True, "mixup": 0.5, "cutmix": 1.0, "workers": 2},
    ],
)
def test_a_run_that_is_killed_in_an_epoch_ends_with_the_same_bits(changes, tmp_path, killed):
    config = recipe("digits", **ALONE | {"log_every": 1} | changes)
    train(config, tmp_path / "whole", show=False)
    often = replace(config, checkpoint_every_steps=1)
    each = 5 // config.accumulation  # updates of an epoch are 5, or half of them and one
    killed(often, tmp_path / "broken", each + 2)
    killed(often, tmp_path / "broken", 2 * each + 3, resume=True)
    assert "-batch-" in states_of(tmp_path / "broken")[-1].name
    train(often, tmp_path / "broken", resume=True, show=False)
    require_equal_runs(tmp_path / "whole", tmp_path / "broken")


def test_a_gan_that_is_killed_in_its_third_epoch_ends_with_the_same_bits(
    digits_teacher, tmp_path, killed
):
    networks = dict.fromkeys(("teacher_checkpoint", "extractor_checkpoint"), str(digits_teacher))
    config = small_gan(**networks, epochs=3, workers=0, flip=True, checkpoint_every_steps=1)
    train(config, tmp_path / "whole", show=False)
    killed(config, tmp_path / "broken", 5)
    train(replace(config, workers=1), tmp_path / "broken", resume=True, show=False)
    require_equal_runs(tmp_path / "whole", tmp_path / "broken")


def test_a_detector_that_is_killed_in_an_epoch_ends_with_the_same_bits(tmp_path, killed):
    config = recipe(
        "digits-detection", method="none", feature_weight=0.0, epochs=2, batch_size=4, device="cpu",
        trackers="", warmup_epochs=0, checkpoint_every_steps=1,
    )  # fmt: skip
    with few_canvases(12, 4, 4):
        train(config, tmp_path / "whole", show=False)
        killed(config, tmp_path / "broken", 4)
        train(replace(config, workers=2), tmp_path / "broken", resume=True, show=False)
    require_equal_runs(tmp_path / "whole", tmp_path / "broken")


def test_workers_change_nothing_but_the_time(tmp_path):
    config = recipe("digits", **ALONE | {"flip": True})
    for workers in (0, 1, 3):
        train(replace(config, workers=workers), tmp_path / str(workers), show=False)
    require_equal_runs(tmp_path / "0", tmp_path / "1")
    require_equal_runs(tmp_path / "0", tmp_path / "3")


@pytest.fixture(scope="module")
def three_epochs(tmp_path_factory):
    """A run of three epochs with its last two states."""
    folder = tmp_path_factory.mktemp("states") / "run"
    train("digits", folder, show=False, **ALONE)
    assert [state.name for state in states_of(folder)] == ["epoch-00002", "epoch-00003"]
    return folder


@pytest.fixture
def run(three_epochs, tmp_path):
    return shutil.copytree(three_epochs, tmp_path / "run")


def flip_a_bit(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def make_a_folder(file):
    file.unlink()
    file.mkdir()


def take_another_states(file):
    shutil.copy(file.parents[1] / "epoch-00002" / file.name, file)


DAMAGES = [
    ("gone", lambda file: file.unlink()),
    ("truncated", lambda file: file.write_bytes(file.read_bytes()[:-7])),
    ("empty", lambda file: file.write_bytes(b"")),
    ("a bit", flip_a_bit),
    ("a folder", make_a_folder),
    ("a link", lambda file: file.replace(file.with_name("x")) and file.symlink_to("x")),
    ("another state's", take_another_states),
]
FILES = (
    "network-0.safetensors", "optimizer-0.safetensors", "process-0.safetensors", "progress.json",
    "manifest.json",
)  # fmt: skip


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(("kind", "damage"), DAMAGES)
def test_a_damaged_state_is_known(run, name, kind, damage):
    state = run / "checkpoints" / "epoch-00003"
    assert checkpoint.fault_of(state) == ""
    before = (state / name).read_bytes()
    damage(state / name)
    if (state / name).is_file() and (state / name).read_bytes() == before:
        return  # a run that draws no random numbers has the same ones in both states
    fault = checkpoint.fault_of(state)
    assert fault if name == "manifest.json" else name in fault


@pytest.mark.parametrize("name", FILES)
def test_the_state_before_a_damaged_one_is_taken_and_gives_the_same_run(
    three_epochs, run, name, caplog
):
    (run / "checkpoints" / "epoch-00003" / name).write_bytes(b"x")
    train("digits", run, resume=True, show=False, **ALONE)
    assert "epoch-00003 is damaged" in caplog.text
    assert "goes on from epoch-00002" in caplog.text
    require_equal_runs(three_epochs, run)
    names = [path.name for path in (run / "checkpoints").iterdir()]
    assert sorted(names) == ["epoch-00002", "epoch-00003"]


def test_where_no_state_is_sound_nothing_is_touched(run):
    for state in states_of(run):
        flip_a_bit(state / "network-0.safetensors")
    before = {file: file.stat().st_mtime_ns for file in run.rglob("*.*") if file.name != ".lock"}
    with pytest.raises(UserError, match="nor any other of 2 checkpoints: network-0"):
        train("digits", run, resume=True, show=False, **ALONE)
    after = {file: file.stat().st_mtime_ns for file in run.rglob("*.*") if file.name != ".lock"}
    assert before == after


def test_a_manifest_cannot_name_files_elsewhere(run):
    state = run / "checkpoints" / "epoch-00003"
    content = json.loads((state / "manifest.json").read_text())
    content["files"]["../epoch-00002/progress.json"] = content["files"]["progress.json"]
    (state / "manifest.json").write_text(json.dumps(content))
    assert checkpoint.fault_of(state) == "its manifest.json is damaged"


def test_a_state_of_another_network_is_refused(run):
    with pytest.raises(UserError, match="student"):
        train("digits", run, resume=True, show=False, **ALONE | {"student": "resnet10t"})


def test_as_many_states_are_kept_as_asked(tmp_path):
    changes = ALONE | {"checkpoints_kept": 3, "epochs": 5}
    train("digits", tmp_path / "run", show=False, **changes)
    names = [state.name for state in states_of(tmp_path / "run")]
    assert names == ["epoch-00003", "epoch-00004", "epoch-00005"]


def test_the_best_weights_are_kept_and_say_their_epoch(tmp_path, monkeypatch):
    scores = iter([10.0, 30.0, 20.0, 30.0])
    original = trainer.Trainer.evaluate

    def scored(self):
        return original(self) | {"accuracy": next(scores)}

    monkeypatch.setattr(trainer.Trainer, "evaluate", scored)
    run = tmp_path / "run"
    train("digits", run, show=False, **ALONE | {"epochs": 4, "keep_best": True})
    monkeypatch.undo()
    progress = json.loads((states_of(run)[-1] / "progress.json").read_text())
    assert progress["best"] == {"epoch": 2, "value": 30.0}
    best, last = (evaluate(str(folder))["loss"] for folder in (run / "best", run))
    assert best == evaluate(str(run / "best" / "model.safetensors"))["loss"] != last


def test_a_disk_without_room_is_told_before_anything_is_written(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda _: usage(9, 9, 5_000_000))
    with pytest.raises(RunError, match=r"does not fit on the disk of .*run/checkpoints"):
        train("digits", tmp_path / "run", show=False, **ALONE)
    assert list((tmp_path / "run" / "checkpoints").iterdir()) == []
    monkeypatch.undo()
    train("digits", tmp_path / "run", resume=True, show=False, **ALONE)
    assert len(records_of(tmp_path / "run")) == 3


def test_going_back_to_a_state_is_remembered_beside_it(tmp_path, monkeypatch):
    config = recipe("digits", **ALONE | {"rollbacks": 2, "epochs": 3})
    original, faults = trainer.Trainer._record, []

    def failing(self, progress):
        record, fault = original(self, progress)
        if progress.epoch == 1 and len(faults) < 1:
            faults.append(1)
            return record, "A test failed"
        return record, fault

    monkeypatch.setattr(trainer.Trainer, "_record", failing)
    train(config, tmp_path / "whole", show=False)
    faults.clear()
    back = trainer.Trainer._begin_epoch

    def stop(self, progress):
        if progress.rollbacks == 1:
            raise Killed
        back(self, progress)

    with monkeypatch.context() as patch:
        patch.setattr(trainer.Trainer, "_begin_epoch", stop)
        with pytest.raises(Killed):
            train(config, tmp_path / "broken", show=False)
    train(config, tmp_path / "broken", resume=True, show=False)
    require_equal_runs(tmp_path / "whole", tmp_path / "broken")


def test_what_a_killed_run_did_not_remove_goes_when_it_is_resumed(run):
    (run / "checkpoints" / "epoch-00001").mkdir()
    train("digits", run, resume=True, show=False, **ALONE)
    assert [state.name for state in states_of(run)] == ["epoch-00002", "epoch-00003"]
