"""Weights inside dicts and wrappers of any kind and order, found by a network's own names."""

import argparse
import json

import numpy as np
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

from vkd.api.convert import convert
from vkd.models.checkpoints import load_checkpoint, read_checkpoint
from vkd.models.digest import checkpoint_digest
from vkd.models.factory import create_model


class Small(nn.Module):
    """Two layers, by names that wrappers have too."""

    def __init__(self, width=3):
        super().__init__()
        self.model = nn.Linear(2, width)
        self.head = nn.Linear(width, 2)


class Holding(nn.Module):
    """A network as a part of somebody's own module, beside other things."""

    def __init__(self, part, name, beside=None):
        super().__init__()
        self.add_module(name, part)
        self.criterion = nn.Linear(2, 2)
        if beside is not None:
            self.teacher = beside


# Each takes a module and returns one that holds it.
WRAPPERS = {
    "DataParallel": nn.DataParallel,
    # Compiled twice in a row a module is none any more.
    "compile": lambda module: module if hasattr(module, "_orig_mod") else torch.compile(module),
    "average": AveragedModel,
    "Lightning": lambda module: Holding(module, "net"),
    "own name": lambda module: Holding(module, "my_classifier"),
    "distilling": lambda module: Holding(module, "student", beside=Small()),
}
# Each takes what a file holds and returns it in a dict.
DICTS = {
    "model": lambda content: {"model": content, "epoch": 3},
    "state_dict": lambda content: {"state_dict": content, "args": argparse.Namespace(lr=1.0)},
    "net": lambda content: {"net": content, "optimizer": {"state": {0: torch.ones(3)}}},
    "ema": lambda content: {"state_dict": Small().state_dict(), "state_dict_ema": content},
    "teacher": lambda content: {"teacher": Small().state_dict(), "student": content},
}


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)


@settings(max_examples=40, deadline=None)
@given(
    wrappers=st.lists(st.sampled_from(sorted(WRAPPERS)), max_size=4),
    dicts=st.lists(st.sampled_from(sorted(DICTS)), max_size=3),
)
def test_weights_come_out_of_wrappers_and_dicts_in_any_order(tmp_path_factory, wrappers, dicts):
    network = Small()
    content = network
    for wrapper in wrappers:
        content = WRAPPERS[wrapper](content)
    state = content.state_dict()
    file = tmp_path_factory.mktemp("w") / "weights.safetensors"
    save_file({key: value.clone() for key, value in state.items()}, file)
    assert_equal(load_checkpoint(Small(), file).state_dict(), network.state_dict())
    for holder in dicts:
        state = DICTS[holder](state)
    torch.save(state, file.with_suffix(".pth"))
    found = load_checkpoint(Small(), file.with_suffix(".pth"))
    assert_equal(found.state_dict(), network.state_dict())


@pytest.mark.parametrize("name", ["model", "net", "module", "network", "student", "ema"])
@pytest.mark.parametrize("beside", [False, True])
def test_a_network_whose_own_part_is_called_like_a_wrapper_keeps_its_names(tmp_path, name, beside):
    def make():
        whole = nn.Sequential()
        whole.add_module(name, nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)))
        if beside:
            whole.add_module("head", nn.Linear(3, 2))
        return whole

    network = make()
    torch.save(network.state_dict(), tmp_path / "plain.pth")
    torch.save({"model": nn.DataParallel(network).state_dict()}, tmp_path / "wrapped.pth")
    for file in ("plain.pth", "wrapped.pth"):
        assert_equal(load_checkpoint(make(), tmp_path / file).state_dict(), network.state_dict())
        convert(tmp_path / file, tmp_path / f"{file}.safetensors")
        found = load_checkpoint(make(), tmp_path / f"{file}.safetensors")
        assert_equal(found.state_dict(), network.state_dict())


def test_a_network_in_wrappers_takes_weights_without(tmp_path):
    network = Small()
    torch.save(network.state_dict(), tmp_path / "plain.pth")
    for wrap in (nn.DataParallel, torch.compile, lambda m: nn.DataParallel(torch.compile(m))):
        found = Small()
        load_checkpoint(wrap(found), tmp_path / "plain.pth")
        assert_equal(found.state_dict(), network.state_dict())


def test_parts_that_are_compiled_alone_are_found(tmp_path):
    network, compiled = Small(), Small()
    compiled.load_state_dict(network.state_dict())
    compiled.model = torch.compile(compiled.model)
    torch.save(compiled.state_dict(), tmp_path / "w.pth")
    found = load_checkpoint(Small(), tmp_path / "w.pth")
    assert_equal(found.state_dict(), network.state_dict())


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_model_of_timm_is_made_for_the_classes_and_channels_within(tmp_path, suffix):
    network = timm.create_model("test_resnet", num_classes=7, in_chans=1)
    state = Holding(AveragedModel(network), "classifier").state_dict()
    file = tmp_path / f"weights{suffix}"
    save_file(state, file) if suffix == ".safetensors" else torch.save({"state_dict": state}, file)
    assert_equal(create_model("test_resnet", file).state_dict(), network.state_dict())


def test_what_lies_beside_is_said_once_and_what_is_alone_is_not(tmp_path, caplog):
    network = Small()
    both = {"state_dict": network.state_dict(), "teacher": Small(5).state_dict(), "epoch": 3}
    torch.save(both, tmp_path / "both.pth")
    torch.save({"state_dict": network.state_dict(), "epoch": 3}, tmp_path / "alone.pth")
    load_checkpoint(Small(), tmp_path / "alone.pth")
    assert not caplog.records
    load_checkpoint(Small(), tmp_path / "both.pth")
    (record,) = caplog.records
    assert "below state_dict are taken; 4 tensors beside them" in record.getMessage()
    assert "teacher.model.weight" in record.getMessage()


def test_a_dict_of_any_name_holds_weights(tmp_path):
    network = Small()
    state = nn.DataParallel(network).state_dict()
    torch.save({"mine": {"weights": state}, "other": {"w": torch.ones(2)}}, tmp_path / "w.pth")
    found = load_checkpoint(Small(), tmp_path / "w.pth")
    assert_equal(found.state_dict(), network.state_dict())


def test_what_is_not_converted_is_said(tmp_path, caplog):
    average = Small()
    torch.save({"state_dict": Small().state_dict(), "state_dict_ema": average.state_dict()},
               tmp_path / "w.pth")  # fmt: skip
    (file,) = convert(str(tmp_path / "w.pth"), str(tmp_path / "out.safetensors"))
    assert_equal(load_file(file), average.state_dict())
    (record,) = caplog.records
    assert "below state_dict_ema are taken; 4 tensors beside them" in record.getMessage()


def test_a_teacher_of_the_same_kind_is_not_taken_for_the_student(tmp_path):
    network, teacher = Small(), Small()
    state = Holding(network, "anything", beside=teacher).state_dict()
    torch.save(state, tmp_path / "w.pth")
    found = load_checkpoint(Small(), tmp_path / "w.pth")
    assert_equal(found.state_dict(), network.state_dict())


def test_an_average_within_a_module_is_preferred(tmp_path):
    holding = Holding(Small(), "model", beside=Small())
    holding.ema_model = AveragedModel(average := Small())
    torch.save({"state_dict": holding.state_dict()}, tmp_path / "w.pth")
    found = load_checkpoint(Small(), tmp_path / "w.pth")
    assert_equal(found.state_dict(), average.state_dict())


def test_wrappers_do_not_change_whose_weights_ours_are(tmp_path):
    network = create_model("vidt_digits", num_classes=3)
    plain, wrapped = tmp_path / "plain.pth", tmp_path / "wrapped.pth"
    torch.save(network.state_dict(), plain)
    torch.save({"model": Holding(nn.DataParallel(network), "model").state_dict()}, wrapped)
    assert read_checkpoint(wrapped).architecture == "vidt_digits"
    assert checkpoint_digest(str(wrapped)) == checkpoint_digest(str(plain))
    (file,) = convert(str(wrapped), str(tmp_path / "out.safetensors"))
    assert_equal(load_file(file), network.state_dict())


def test_weights_converted_from_a_run_still_say_what_they_are(tmp_path, digits_run):
    (file,) = convert(str(digits_run), str(tmp_path / "out.safetensors"))
    before, after = read_checkpoint(digits_run), read_checkpoint(file)
    assert after.metadata == before.metadata
    assert json.loads(after.metadata["versions"])["torch"] == torch.__version__
    assert_equal(after.state, before.state)


def test_arrays_of_numpy_are_weights_too(tmp_path):
    network = Small()
    arrays = {name: value.numpy() for name, value in network.state_dict().items()}
    arrays["model.weight"] = np.asfortranarray(arrays["model.weight"])
    arrays["head.bias"] = arrays["head.bias"].astype(">f4")
    torch.save({"net": arrays, "loss": np.float64(3), "seed": np.random.get_state()},
               tmp_path / "w.pth")  # fmt: skip
    assert_equal(load_checkpoint(Small(), tmp_path / "w.pth").state_dict(), network.state_dict())
