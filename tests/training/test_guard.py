"""Losses and gradients that are no finite numbers: named, kept, stopped, skipped, rolled back."""

import json
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import vkd
from support.spoilt import TASKS, classification, spoilt_canvas
from support.waiting import Waits
from vkd.api import train as train_module
from vkd.api.cache import cache
from vkd.api.train import train
from vkd.errors import FieldError, RunError, UserError
from vkd.recipe import recipe
from vkd.training.failures import kept_failures
from vkd.training.gradients import Gradients
from vkd.training.guard import MOST_SKIPPED, Guard
from vkd.training.records import read_metrics, read_records
from vkd.training.trackers import Trackers


class Killed(BaseException):
    """Ends a run where nothing may catch it."""


@pytest.fixture
def spoilt(monkeypatch):
    with spoilt_canvas(monkeypatch):
        yield


def is_finite(run):
    weights = load_file(run / "model.safetensors")
    return all(weight.isfinite().all() for weight in weights.values() if weight.is_floating_point())


@pytest.mark.parametrize("task", TASKS)
def test_a_spoilt_picture_is_named_and_its_step_can_be_taken_again(
    task, digits_teacher, tmp_path, spoilt
):
    config, objects = TASKS[task](digits_teacher)
    with pytest.raises(RunError) as error:
        train(config, tmp_path / "run", show=False, **objects)
    (kept,) = kept_failures(tmp_path / "run")
    failure = kept.failure
    assert str(error.value).startswith(f"{failure.what} at update {failure.update} (")
    assert f"vkd replay {tmp_path}"[:30] in str(error.value)
    bad = {"classification": "image 5", "embedding": "image 5", "detection": "5.png"}.get(task)
    if bad is None:
        bad = f"image {int(objects['data'].indices[5])}"
    assert bad in failure.pictures
    assert len(failure.pictures) == config.batch_size
    assert not {file.suffix for file in kept.folder.iterdir()} - {".json", ".safetensors"}

    found = vkd.replay(tmp_path / "run", **objects)
    assert found.is_reproduced
    assert found.output is not None
    for before, now in found.terms.values():
        assert float(before) == pytest.approx(float(now), nan_ok=True, rel=1e-6)
    assert len(kept_failures(tmp_path / "run")) == 1


@pytest.mark.parametrize("task", TASKS)
def test_a_spoilt_picture_is_skipped_once_in_each_epoch(task, digits_teacher, tmp_path, spoilt):
    config, objects = TASKS[task](digits_teacher, on_failure="skip")
    train(config, tmp_path / "run", show=False, **objects)
    records = read_metrics(tmp_path / "run")
    # The last batch is left out where it is not full, and may be the one of the picture.
    assert {record["skipped"] for record in records} <= {0, 1}
    skipped = sum(record["skipped"] for record in records)
    assert skipped >= 1
    notes = (tmp_path / "run" / "notes.txt").read_text().splitlines()
    assert len(notes) == skipped
    assert all(note.endswith("; the update is left out.") for note in notes)
    assert is_finite(tmp_path / "run")
    assert all(torch.tensor(list(record["train"].values())).isfinite().all() for record in records)


def test_a_skipped_update_changes_nothing(digits_teacher, tmp_path, monkeypatch):
    """Of four updates, each of which skips, none acts; statistics stay, too."""
    config, objects = classification(digits_teacher, on_failure="skip", epochs=1)
    objects["data"].train.images[:] = torch.nan
    before = []
    original = Guard.begin

    def begin(guard, *arguments):
        before.append({n: p.clone() for n, p in guard._modules[0].state_dict().items()})
        original(guard, *arguments)

    monkeypatch.setattr(Guard, "begin", begin)
    with pytest.raises(RunError, match="Every update was left out in epoch 1; lower lr"):
        train(config, tmp_path / "run", show=False, **objects)
    assert len(before) == 2
    assert all(torch.equal(before[0][name], before[1][name]) for name in before[0])


def test_a_run_skips_no_more_than_so_many_in_a_row(digits_teacher, tmp_path):
    config, objects = classification(digits_teacher, on_failure="skip", epochs=1, batch_size=8)
    objects["data"].train.images[:] = torch.nan
    text = rf"The loss term label is nan at update {MOST_SKIPPED + 1} .* after {MOST_SKIPPED} in a"
    with pytest.raises(RunError, match=text):
        train(config, tmp_path / "run", show=False, **objects)
    assert len(kept_failures(tmp_path / "run")) == 10


def test_updates_in_a_row_are_counted_across_a_kill(digits_teacher, tmp_path, monkeypatch):
    config, objects = classification(
        digits_teacher, on_failure="skip", epochs=1, batch_size=8, checkpoint_every_steps=4
    )
    objects["data"].train.images[:] = torch.nan
    original = Guard.begin

    def begin(guard, step, batch, epoch, updates):
        if updates == 13:
            raise Killed
        original(guard, step, batch, epoch, updates)

    with monkeypatch.context() as patch:
        patch.setattr(Guard, "begin", begin)
        with pytest.raises(Killed):
            train(config, tmp_path / "run", show=False, **objects)
    with pytest.raises(RunError, match=f"is nan at update {MOST_SKIPPED + 1} .* in a row"):
        train(config, tmp_path / "run", resume=True, show=False, **objects)


def test_a_spoilt_batch_leaves_out_its_whole_accumulated_update(digits_teacher, tmp_path):
    config, objects = classification(
        digits_teacher, on_failure="skip", batch_size=16, accumulation=3, epochs=4
    )
    train(config, tmp_path / "run", show=False, **objects)
    records = read_metrics(tmp_path / "run")
    assert [record["updates"] for record in records] == [4, 8, 12, 16]
    assert {record["skipped"] for record in records} <= {0, 1}
    (first, *_) = kept_failures(tmp_path / "run")
    assert "image 5" in first.failure.pictures
    assert len(first.failure.pictures) == 16
    assert is_finite(tmp_path / "run")


def test_a_run_goes_back_from_the_step_that_failed(digits_teacher, tmp_path, monkeypatch):
    config, objects = classification(digits_teacher, rollbacks=1, epochs=3)
    data = objects["data"]
    data.train.images[5] = 0.0
    original, failed = Guard.begin, []

    def begin(guard, step, batch, epoch, updates):
        if epoch == 1 and not failed:
            failed.append(updates)
            batch[0][3] = torch.inf
        original(guard, step, batch, epoch, updates)

    monkeypatch.setattr(Guard, "begin", begin)
    train(config, tmp_path / "run", show=False, data=data)
    (note,) = (tmp_path / "run" / "notes.txt").read_text().splitlines()
    assert "in epoch 2; resuming from epoch 1 with other random numbers" in note
    assert [record["epoch"] for record in read_metrics(tmp_path / "run")] == [1, 2, 3]
    assert vkd.replay(tmp_path / "run", data=data).is_reproduced


DIVERGING = {
    "epochs": 2, "warmup_epochs": 0, "device": "cpu", "trackers": "", "optimizer": "sgd", "lr": 1e6,
    "crop_padding": 1, "mixup": 0.8, "cutmix": 1.0,
}  # fmt: skip


@pytest.mark.parametrize("changes", [{}, {"augment_on_device": True, "ema_decay": 0.9}])
def test_a_replayed_step_draws_as_the_step_did(changes, digits_teacher, tmp_path):
    config = recipe("digits", teacher_checkpoint=str(digits_teacher), **(DIVERGING | changes))
    with pytest.raises(RunError, match=r"The (gradient of student|norm of the gradient)"):
        train(config, tmp_path / "run", show=False)
    found = vkd.replay(tmp_path / "run")
    assert found.is_reproduced
    assert found.terms.keys() == {"feature", "label"}
    for before, now in found.terms.values():
        assert before == now


def test_a_step_with_stored_outputs_and_mixed_pairs_is_replayed(digits_teacher, tmp_path):
    values = DIVERGING | {"mixup_mode": "pair", "train_fraction": 0.2, "batch_size": 16}
    config = recipe("digits", teacher_checkpoint=str(digits_teacher), **values)
    cache(config, tmp_path / "store", views=2, show=False)
    config = recipe("digits", teacher_store=str(tmp_path / "store"), **values)
    with pytest.raises(RunError):
        train(config, tmp_path / "run", show=False)
    found = vkd.replay(tmp_path / "run")
    assert found.is_reproduced
    for before, now in found.terms.values():
        assert before == now
    assert len(set(found.pictures)) == 16


class Square(nn.Module):
    """Its output is finite at zero, and its gradient is not."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Linear(64, 10)

    def forward(self, images):
        return self.scale(images.flatten(1)).abs().sqrt()


def test_a_gradient_names_its_layer_and_the_operation(tmp_path, monkeypatch):
    torch.manual_seed(0)
    network = Square()
    nn.init.zeros_(network.scale.weight)
    nn.init.zeros_(network.scale.bias)
    alone = {"method": "none", "feature_weight": 0, "trackers": "", "device": "cpu", "epochs": 1}
    with pytest.raises(RunError, match=r"^The gradient of student\.scale is no finite number at"):
        train("digits", tmp_path / "run", student=network, show=False, warmup_epochs=0, **alone)
    found = vkd.replay(tmp_path / "run", student=Square())
    assert found.is_reproduced
    assert found.output is None
    assert found.operation == "Abs"  # infinity of the root, times zero
    assert found.gradient.layer == "student.scale"
    assert found.parameters == ["student.scale.weight", "student.scale.bias"]


def inexact(monkeypatch):
    """Let the CPU be guarded as an accelerator is."""
    original = Guard.__init__

    def made(guard, *arguments):
        original(guard, *arguments)
        guard.is_exact = False

    monkeypatch.setattr(Guard, "__init__", made)


@pytest.mark.parametrize(
    "changes", [{"log_every": 0}, {"log_every": 2}, {"log_every": 0, "checkpoint_every_steps": 1}]
)
def test_an_accelerator_names_the_update_and_replay_finds_the_step(
    digits_teacher, tmp_path, monkeypatch, changes
):
    config, objects = classification(digits_teacher, epochs=5, **changes)
    data = objects["data"]
    data.train.images[5] = 0.0
    with monkeypatch.context() as patch:
        inexact(patch)
        spoil_epoch(patch, data, 1)
        with pytest.raises(RunError) as error:
            train(config, tmp_path / "run", show=False, data=data)
    (kept,) = kept_failures(tmp_path / "run")
    assert "The loss term label is no finite number at update" in str(error.value)
    assert f"finds the step) in epoch {kept.failure.epoch}; lower lr" in str(error.value)
    assert "image 5" in kept.failure.pictures
    assert [file.name for file in kept.folder.iterdir()] == ["failure.json"]
    states = list((tmp_path / "run" / "checkpoints").glob("*/network-*.safetensors"))
    assert states
    assert all(part.isfinite().all() for file in states for part in load_file(file).values())
    before = {file: file.read_bytes() for file in (tmp_path / "run").glob("*.*")}
    data.train.images[5] = torch.nan
    found = vkd.replay(tmp_path / "run", data=data)
    assert found.is_reproduced
    assert found.update == kept.failure.update
    assert set(found.pictures) == set(kept.failure.pictures)
    assert before == {file: file.read_bytes() for file in (tmp_path / "run").glob("*.*")}


def spoil_epoch(patch, data, epoch):
    """Let the picture 5 be nan from an epoch on."""
    original = Guard.begin

    def begin(guard, step, batch, now, updates):
        if now >= epoch:
            batch[0][batch[2] == 5] = torch.nan
        original(guard, step, batch, now, updates)

    patch.setattr(Guard, "begin", begin)


def test_no_step_of_an_accelerator_waits_for_its_guard(tmp_path):
    device = torch.device("meta")
    module = nn.Linear(3, 2, device=device)
    accelerator = SimpleNamespace(
        device=device, scaler=None, sync_gradients=True, num_processes=1, process_index=0,
        distributed_type="NO", unwrap_model=lambda module: module, step=0,
    )  # fmt: skip
    task = SimpleNamespace(sample_ids=lambda batch: batch)
    guard = Guard(task, [module], accelerator, recipe("digits"), tmp_path)
    assert not guard.is_exact
    terms = {"label": torch.ones((), device=device), "feature": torch.ones((), device=device)}
    with Waits() as waits:
        for update in range(3):
            guard.begin(0, torch.zeros(4, dtype=torch.int64, device=device), 0, update)
            assert guard.passes(terms, torch.ones((), device=device))
            guard.gradients().measures()
    assert waits.found == []


def with_scaler(monkeypatch, scale):
    """Let the CPU have the loss scale of fp16, and compute in float32."""
    original = train_module.make_accelerator

    def made(config):
        accelerator = original(config)
        accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        return accelerator

    monkeypatch.setattr(train_module, "make_accelerator", made)


def test_the_loss_scale_is_recorded_and_not_in_the_gradients_norm(
    digits_teacher, tmp_path, monkeypatch
):
    config, objects = classification(digits_teacher, epochs=1, optimizer="sgd", lr=0.01)
    objects["data"].train.images[5] = 0.0
    train(config, tmp_path / "plain", show=False, **objects)
    with_scaler(monkeypatch, 1024.0)
    tracked = []
    monkeypatch.setattr(Trackers, "log", lambda _, values, step: tracked.append(values))
    train(config, tmp_path / "scaled", show=False, **objects)
    plain, scaled = (
        read_records(tmp_path / name / "steps.jsonl", "update") for name in ("plain", "scaled")
    )
    assert [record["loss_scale"] for record in scaled] == [1024.0] * len(scaled)
    assert not any("loss_scale" in record for record in plain)
    for one, other in zip(plain, scaled, strict=True):
        assert one["gradient_norm"] == pytest.approx(other["gradient_norm"], rel=1e-4)
    (record,) = read_metrics(tmp_path / "scaled")
    assert record["loss_scale"] == 1024.0
    (values,) = tracked
    assert {name: values[name] for name in ("gradient_norm", "loss_scale", "skipped")} == {
        name: record[name] for name in ("gradient_norm", "loss_scale", "skipped")
    }
    norms = [one["gradient_norm"] for one in scaled]
    assert record["gradient_norm"] == pytest.approx(sum(norms) / len(norms), rel=1e-5)


def test_a_spoilt_picture_is_skipped_under_a_loss_scale_too(digits_teacher, tmp_path, monkeypatch):
    config, objects = classification(digits_teacher, on_failure="skip", batch_size=16)
    with_scaler(monkeypatch, 1024.0)
    train(config, tmp_path / "run", show=False, **objects)
    records = read_metrics(tmp_path / "run")
    assert [record["loss_scale"] for record in records] == [1024.0] * 2
    assert sum(record["skipped"] for record in records) >= 1
    assert is_finite(tmp_path / "run")


def test_gradients_that_overflow_are_counted_and_fail_after_so_many(
    digits_teacher, tmp_path, monkeypatch
):
    config, objects = classification(digits_teacher, epochs=1, batch_size=16)
    objects["data"].train.images[5] = 0.0
    objects["data"].train.images *= 100  # of which gradients are above two
    objects["student"] = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with_scaler(monkeypatch, 2.0**127)
    train(config, tmp_path / "run", show=False, **objects)
    (record,) = read_metrics(tmp_path / "run")
    assert 1 <= record["skipped"] <= 8
    assert record["loss_scale"] == 2.0 ** (127 - record["skipped"])
    with_scaler(monkeypatch, float("inf"))  # half of it is as large
    config, _ = classification(digits_teacher, epochs=3, batch_size=16)
    with pytest.raises(RunError, match=f"overflows fp16, after .* {MOST_SKIPPED} times in a row"):
        train(config, tmp_path / "over", show=False, **objects)


def test_overflows_in_a_row_are_counted_across_a_kill(digits_teacher, tmp_path, monkeypatch):
    with_scaler(monkeypatch, float("inf"))
    config, objects = classification(
        digits_teacher, epochs=1, batch_size=8, checkpoint_every_steps=1
    )
    objects["data"].train.images[5] = 0.0
    objects["student"] = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    original = Guard.check

    def check(guard):
        original(guard)
        if int(guard._overflows.get(0, 0)) == 7:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Guard, "check", check)
        with pytest.raises(Killed):
            train(config, tmp_path / "run", show=False, **objects)
    with pytest.raises(RunError, match=f"overflows fp16, after .* {MOST_SKIPPED} times in a row"):
        train(config, tmp_path / "run", resume=True, show=False, **objects)
    newest = max((tmp_path / "run" / "checkpoints").glob("epoch-*"))
    assert newest.name == f"epoch-00000-batch-{MOST_SKIPPED - 1:05}"


def test_norms_of_modules_are_joined_and_skipped_updates_left_out_of_means():
    made = Gradients(torch.tensor(5.0), torch.tensor(0.0))
    skipped = Gradients(torch.tensor(torch.inf), torch.tensor(1.0))
    assert {k: float(v) for k, v in made.measures().items()} == {"gradient_norm": 5, "skipped": 0}
    assert float(skipped.measures()["gradient_norm"]) == 0


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"on_failure": "stop", "rollbacks": 1}, "rollbacks has no effect with on_failure stop"),
        ({"on_failure": "roll-back"}, "rollbacks must be at least 1 with on_failure roll-back"),
    ],
)
def test_rules_that_contradict_each_other_are_refused(changes, text):
    with pytest.raises(FieldError, match=text):
        recipe("digits", **changes)


def test_a_recipe_that_rolls_back_stays_valid():
    assert recipe("gan-digits").rollbacks == 3
    assert recipe("gan-digits").on_failure == "auto"


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda folder: (folder / "failure.json").write_text("{}"), "does not say what failed"),
        (lambda folder: (folder / "failure.json").write_text('{"update": "x"}'), "update must be"),
        (lambda folder: (folder / "batch.safetensors").write_bytes(b"x" * 99), "cannot be read"),
        (lambda folder: (folder / "weights.safetensors").unlink(), "cannot be read"),
        (lambda folder: (folder / "random.safetensors").write_bytes(b""), "is no state of a run"),
    ],
)
def test_a_damaged_failure_is_told(damage, text, digits_teacher, tmp_path):
    config, objects = classification(digits_teacher)
    with pytest.raises(RunError):
        train(config, tmp_path / "run", show=False, **objects)
    (kept,) = kept_failures(tmp_path / "run")
    damage(kept.folder)
    with pytest.raises(UserError, match=text):
        vkd.replay(tmp_path / "run", **objects)


def test_the_command_prints_what_it_found(vkd, digits_teacher, tmp_path):
    config = {"epochs": 1, "warmup_epochs": 0, "lr": 1e30, "optimizer": "sgd", "trackers": ""}
    flags = [word for name, value in config.items() for word in (f"--{name}", str(value))]
    run = tmp_path / "run"
    done = vkd("train", "digits", "--output", run, "--device", "cpu", "--teacher-checkpoint",
               digits_teacher, *flags)  # fmt: skip
    assert done.returncode == 1
    assert "at update" in done.stderr
    assert len(done.stderr.splitlines()[-1]) <= 300
    done = vkd("replay", run)
    assert done.returncode == 0, done.stderr
    assert "reproduced: yes" in done.stdout, done.stdout
    assert "first layer whose output is not finite: student." in done.stdout
    found = json.loads(vkd("replay", run, "--json").stdout)
    assert found["is_reproduced"]
    done = vkd("replay", run, "--update", "99")
    assert done.returncode == 2
    assert "--update must be one that failed" in done.stderr
    done = vkd("replay", digits_teacher)
    assert done.returncode == 2
    assert "has no failed step" in done.stderr
