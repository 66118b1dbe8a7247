"""The states that runs are resumed from: damaged, or a stranger's with a manifest that fits."""

import copy
import hashlib
import json
import math
import shutil

import pytest
import torch
from accelerate import Accelerator
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from fuzzing.mutations import damaged, dumped, files, json_files, mutated
from fuzzing.reading import answer_of, fuzzed
from vkd.training.checkpoint import Progress, load_state, save_state, write_rollback
from vkd.training.nested import load_nested
from vkd.training.state import RunState

STATE = "checkpoints/epoch-00003-batch-00002"
NESTED = ("optimizer-0.safetensors", "process-0.safetensors")
TENSORS = ("network-0.safetensors", "average.safetensors", *NESTED)


def trained():
    """A small network that has taken a step, with its optimiser and average."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.1)
    module(torch.rand(4, 3)).square().sum().backward()
    optimizer.step()
    return module, optimizer, copy.deepcopy(module)


@pytest.fixture(scope="module")
def accelerator():
    return Accelerator(cpu=True)


@pytest.fixture(scope="module")
def run(accelerator, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints") / "run"
    folder.mkdir()
    module, optimizer, average = trained()
    # accelerate's own wraps torch's.
    state = RunState(accelerator, [module], [accelerator.prepare(optimizer)], average)
    progress = Progress(
        3,
        2,
        14,
        best={"epoch": 2, "value": 0.5},
        task={"threshold": 0.1},
        rollbacks=1,
        skipped={"left_out": [1, 0], "overflows": [0, 2]},
    )
    save_state(accelerator, folder, progress, state, sums={"loss": torch.ones(2)})
    write_rollback(folder, progress)
    return folder


@pytest.fixture
def resumed(run, accelerator):
    """Resume a copy of the run after a change to it; whether it is told in a sentence or works."""

    def resume(name, content, *, is_sealed):
        folder = run.parent / "changed"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(run, folder)
        (folder / name).write_bytes(content)
        if is_sealed:
            seal(folder / STATE)
        module, optimizer, average = trained()
        state = RunState(accelerator, [module], [accelerator.prepare(optimizer)], average)
        found = answer_of(lambda: load_state(accelerator, folder, state))
        if not isinstance(found, Exception):
            check_taken(found, optimizer)
        return found

    return resume


def check_taken(loaded, optimizer):
    """Check that what was taken over is of the kinds that a run goes on with."""
    progress = loaded.progress
    assert min(progress.epoch, progress.batch, progress.updates, progress.rollbacks) >= 0
    assert progress.processes > 0
    numbers = (*progress.best.values(), *progress.task.values())
    assert all(type(value) in (int, float) and math.isfinite(value) for value in numbers)
    fresh = trained()[1]
    for ours, theirs in zip(fresh.param_groups, optimizer.param_groups, strict=True):
        assert ours.keys() <= theirs.keys()
        settings = (theirs["lr"], theirs["eps"], theirs["weight_decay"], *theirs["betas"])
        assert all(math.isfinite(value) for value in settings)
    kinds = {
        (name, torch.is_tensor(value))
        for moments in optimizer.state.values()
        for name, value in moments.items()
    }
    assert len(kinds) == len({name for name, _ in kinds})


def seal(state):
    """Write the manifest anew, as a stranger may."""
    found = {
        file.name: {
            "bytes": file.stat().st_size,
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        }
        for file in state.iterdir()
        if file.name != "manifest.json"
    }
    (state / "manifest.json").write_text(json.dumps({"files": found}))


def outline(file):
    with safe_open(file, "pt") as opened:
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        return json.loads(opened.metadata()["state"]), tensors


def test_what_was_not_changed_is_taken(run, resumed):
    name = f"{STATE}/progress.json"
    found = resumed(name, (run / name).read_bytes(), is_sealed=True)
    assert found.progress.task == {"threshold": 0.1}
    assert found.sums["loss"].tolist() == [1, 1]


@fuzzed(50)
@given(st.data())
def test_a_changed_file_of_a_state_is_never_taken(run, resumed, data):
    names = [file.name for file in (run / STATE).iterdir() if file.name != "manifest.json"]
    name = data.draw(st.sampled_from(sorted(names)))
    valid = (run / STATE / name).read_bytes()
    content = data.draw(files(valid))
    found = resumed(f"{STATE}/{name}", content, is_sealed=False)
    assert isinstance(found, Exception) != (content == valid)


@fuzzed(50)
@given(st.data())
def test_a_manifest_is_taken_or_refused_in_a_sentence(run, resumed, data):
    valid = json.loads((run / STATE / "manifest.json").read_text())
    resumed(f"{STATE}/manifest.json", data.draw(json_files(valid)), is_sealed=False)


@fuzzed(60)
@given(st.data())
def test_a_strangers_progress_is_taken_or_refused_in_a_sentence(run, resumed, data):
    valid = json.loads((run / STATE / "progress.json").read_text())
    resumed(f"{STATE}/progress.json", data.draw(json_files(valid)), is_sealed=True)


@fuzzed(40)
@given(st.data())
def test_a_rollback_is_taken_or_refused_in_a_sentence(run, resumed, data):
    name = "checkpoints/rollback.json"
    valid = json.loads((run / name).read_text())
    resumed(name, data.draw(json_files(valid)), is_sealed=False)


@fuzzed(50)
@given(st.data())
def test_strangers_tensors_are_taken_or_refused_in_a_sentence(run, resumed, data):
    name = data.draw(st.sampled_from(TENSORS))
    content = data.draw(damaged((run / STATE / name).read_bytes()))
    resumed(f"{STATE}/{name}", content, is_sealed=True)


@fuzzed(100)
@given(st.data())
def test_strangers_optimisers_and_random_numbers_are_taken_or_refused(run, resumed, data):
    name = data.draw(st.sampled_from(NESTED))
    tree, tensors = outline(run / STATE / name)
    file = run.parent / "changed.safetensors"
    text = dumped(data.draw(mutated(tree))).decode(errors="replace")
    save_file(tensors, file, {"state": text})
    resumed(f"{STATE}/{name}", file.read_bytes(), is_sealed=True)


@fuzzed(100)
@given(st.data())
def test_nested_states_are_read_or_refused_in_a_sentence(run, data):
    file = run.parent / "nested.safetensors"
    file.write_bytes(data.draw(files(*((run / STATE / name).read_bytes() for name in NESTED))))
    answer_of(lambda: load_nested(file))


def progress_with(**changes):
    return lambda saved: saved | changes


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("progress.json", progress_with(rollbacks=10**400)),
        ("progress.json", progress_with(processes=0)),
        ("progress.json", progress_with(skipped={"left_out": [1.5], "overflows": []})),
        ("progress.json", progress_with(skipped={"left_out": []})),
        ("progress.json", progress_with(processes="2")),
        ("progress.json", progress_with(best={"epoch": 2, "value": {}})),
        ("progress.json", progress_with(task={"threshold": float("nan")})),
        ("../rollback.json", progress_with(task={"threshold": {"a": 1}})),
        ("../rollback.json", progress_with(rollbacks=True)),
    ],
)
def test_what_was_found_in_progress_is_refused(run, resumed, name, change):
    saved = json.loads((run / STATE / name).read_text())
    found = resumed(f"{STATE}/{name}", dumped(change(saved)), is_sealed=True)
    assert "is damaged" in str(found)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('["lr", 0.1]', '["lr", "0.1"]'),
        ('["lr", 0.1]', '["lr", NaN]'),
        ('["lr", 0.1]', '["rate", 0.1]'),
        ('{"tuple": [0.9, 0.999]}', '{"tuple": [0.9]}'),
        ('["exp_avg", {"tensor": "1"}]', '["exp_avg", null]'),
    ],
)
def test_what_was_found_in_optimisers_is_refused(run, resumed, old, new):
    tree, tensors = outline(run / STATE / NESTED[0])
    text = json.dumps(tree)
    assert old in text
    file = run.parent / "found.safetensors"
    save_file(tensors, file, {"state": text.replace(old, new)})
    found = resumed(f"{STATE}/{NESTED[0]}", file.read_bytes(), is_sealed=True)
    assert "is of another network or optimiser" in str(found)
