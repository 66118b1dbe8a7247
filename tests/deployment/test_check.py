"""Exported files compute what their networks do, or are not kept."""

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import vkd
from vkd.deployment.check import TOLERANCE, compared
from vkd.deployment.program import traced, write_program
from vkd.deployment.samples import made_batches
from vkd.errors import RunError
from vkd.training.task import Exported


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)
    ).eval()


@pytest.fixture(scope="module", params=[".onnx", ".pt2"])
def file(request, tmp_path_factory):
    """A small network and its file."""
    model, path = network(), tmp_path_factory.mktemp("check") / f"net{request.param}"
    exported = Exported(model, {"images": torch.zeros(2, 1, 8, 8)}, ["logits"])
    write_program(traced(exported), path, exported, {})
    return exported, path


@settings(deadline=None, max_examples=15)
@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=3))
def test_batches_of_any_length_agree(file, sizes):
    exported, path = file
    found = compared(exported.module, path, made_batches(exported, sizes))
    assert found.sizes == sizes
    assert found.difference <= 1e-5
    assert f"bound {TOLERANCE * found.scale:.2g}" in str(found)


def test_another_networks_outputs_are_refused(file):
    exported, path = file
    other = network()
    with torch.no_grad():
        other[4].bias[3] += 0.01
    with pytest.raises(RunError, match=r"differ by 0\.01 from the network's in a batch of 1"):
        compared(other, path, made_batches(exported, [1]))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("deit_fashion_distilled", (1, 28, 28)),
        ("cnn_digits", (1, 8, 8)),
        ("conv_vit_fashion", (1, 28, 28)),
        ("cnn_fashion", (1, 28, 28)),
    ],
)
def test_our_classifiers_take_batches_of_any_length(name, shape, tmp_path):
    torch.manual_seed(0)
    inputs = {"images": torch.zeros(2, *shape)}
    exported = Exported(vkd.create_model(name).eval(), inputs, ["logits"])
    file = tmp_path / "net.onnx"
    write_program(traced(exported), file, exported, {})
    assert compared(exported.module, file, made_batches(exported, [1, 5])).difference < 1e-4


class Changed(nn.Module):
    """A classifier that its own export does not describe."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

    def forward(self, images):
        return self.net(images) + (1.0 if torch.compiler.is_exporting() else 0.0)


@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_what_differs_leaves_no_file(tmp_path, suffix):
    run = tmp_path / "run"
    fields = {"epochs": 1, "warmup_epochs": 0, "device": "cpu", "method": "none", "trackers": ""}
    vkd.train("digits", run, show=False, student=Changed(), **fields)
    with pytest.raises(RunError, match=r"differ by 1 from .*; it was not kept"):
        vkd.export(str(run), tmp_path / f"net{suffix}", student=Changed())
    assert {path.name for path in tmp_path.iterdir()} == {"run"}


class Fixed(nn.Module):
    """A classifier of batches of two alone."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(64, 10)

    def forward(self, images):
        return self.linear(images.reshape(2, 64))


def test_a_network_of_one_batch_length_is_refused():
    exported = Exported(Fixed(), {"images": torch.zeros(2, 1, 8, 8)}, ["logits"])
    with pytest.raises(RunError, match=r"cannot be traced by torch\.export"):
        traced(exported)


def test_a_generator_is_checked_on_noise(gan_run, tmp_path, vkd):
    done = vkd("export", "--checkpoint", gan_run, tmp_path / "gan.onnx")
    assert done.returncode == 0, done.stderr
    assert "made inputs (the network takes no pictures)" in done.stdout
    refused = vkd("export", "--checkpoint", gan_run, "--pictures", tmp_path, tmp_path / "b.onnx")
    assert "--pictures has no meaning for a generation network" in refused.stderr
    model = onnx.load(tmp_path / "gan.onnx")
    assert [part.name for part in model.graph.input] == ["noise", "labels"]
    assert np.isfinite(float(model.ir_version))
