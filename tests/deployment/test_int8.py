"""8-bit files: what they hold, what they cost, and what is refused."""

import json
import sys

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from torch import nn

import vkd
from vkd.deployment.program import traced, write_program
from vkd.deployment.quantization import quantized
from vkd.deployment.samples import made_batches
from vkd.errors import RunError, UserError
from vkd.training.task import Exported


def test_the_accuracy_before_and_after_is_that_of_both_files(digits_exports, digits_run):
    folder = digits_exports
    metric = vkd.read_exported(folder / "int8.onnx").quantization["metric"]
    before, after = (vkd.evaluate(str(folder / f"{name}.onnx")) for name in ("float", "int8"))
    assert metric == {
        "name": "accuracy", "float": before["accuracy"], "int8": after["accuracy"]
    }  # fmt: skip
    run = vkd.evaluate(str(digits_run), device="cpu")
    assert before["accuracy"] == pytest.approx(run["accuracy"], abs=0.2)
    assert before["parameters"] == run["parameters"]
    assert before["macs"] == run["macs"]
    assert abs(after["accuracy"] - before["accuracy"]) < 2
    assert (
        f"{before['accuracy']:.2f} in float, {after['accuracy']:.2f} in 8 bits"
        in (folder / "int8.onnx.txt").read_text()
    )


def test_weights_are_int8_with_a_scale_for_each_channel(digits_exports):
    folder = digits_exports
    model = onnx.load(folder / "int8.onnx")
    told = vkd.read_exported(folder / "int8.onnx").quantization
    arrays = {part.name: onnx.numpy_helper.to_array(part) for part in model.graph.initializer}
    weights = {
        node.input[0]: node.input[1]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in arrays
        and arrays[node.input[0]].dtype == np.int8
    }  # fmt: skip
    assert len(weights) == sum(told["int8"].values())
    for weight, scale in weights.items():
        assert arrays[scale].ndim == 1
        assert arrays[scale].size in arrays[weight].shape
        assert np.abs(arrays[weight].astype(int)).max() <= 64
    assert told["pictures"] == 128
    assert {"Softmax", "LayerNormalization"} <= told["float"].keys()
    assert "in 8 bits:" in (folder / "int8.onnx.txt").read_text()


def test_it_is_calibrated_with_the_pictures_that_are_named(digits_run, tmp_path, vkd):
    folder = tmp_path / "pictures"
    folder.mkdir()
    random = np.random.default_rng(0)
    for place in range(5):
        pixels = random.integers(0, 256, (12, 12), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{place}.png")
    (folder / "broken.png").write_bytes(b"none")
    done = vkd("export", "--checkpoint", digits_run, "--int8", "--calibration", folder,
               "--calibration-count", 6, tmp_path / "net.onnx")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "of 5 pictures of" in done.stdout
    assert "left out 1 unreadable of 6 pictures" in done.stderr


def test_an_empty_folder_is_no_calibration(digits_run, tmp_path, vkd):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_bytes(b"none")
    for name, reason in (("empty", "holds no pictures"), ("broken", "that can be read"),
                         ("absent", "--calibration must be a folder")):  # fmt: skip
        done = vkd("export", "--checkpoint", digits_run, "--int8", "--calibration",
                   tmp_path / name, tmp_path / "net.onnx")  # fmt: skip
        assert done.returncode == 2, done.stderr
        assert reason in done.stderr.splitlines()[-1]
        assert not (tmp_path / "net.onnx").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--int8", "out.pt2"], "--int8 is ONNX Runtime's; OUT must end in .onnx"),
        (["--calibration", "folder", "out.onnx"], "--calibration has no effect without"),
        (["--int8", "--calibration-count", "0", "out.onnx"], "--calibration-count must be from"),
        (["--evaluate", "false", "out.onnx"], "--evaluate has no effect without int8, found false"),
        (["--pictures", "absent", "out.onnx"], "--pictures must be a folder of pictures"),
    ],
)
def test_what_makes_no_sense_is_refused(digits_run, tmp_path, vkd, words, expected):
    done = vkd("export", "--checkpoint", digits_run, *words, cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert expected in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_generator_has_no_pictures_to_calibrate_with(gan_run, tmp_path):
    with pytest.raises(UserError, match="int8 has no meaning for generation"):
        vkd.export(str(gan_run), tmp_path / "gan.onnx", int8=True)


@pytest.mark.parametrize("words", [["out.onnx"], ["--int8", "out.onnx"]])
def test_without_the_packages_their_command_is_named(digits_run, tmp_path, vkd, monkeypatch, words):
    for name in ("onnx", "onnxruntime", "onnxscript"):
        monkeypatch.setitem(sys.modules, name, None)
    done = vkd("export", "--checkpoint", digits_run, *words, cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "pip install 'vkd[onnx]'" in done.stderr


def test_a_network_without_weights_to_quantise_is_refused(tmp_path):
    inputs = {"images": torch.zeros(2, 4)}
    exported = Exported(nn.Sequential(nn.Tanh(), nn.Softmax(1)), inputs, ["shares"])
    write_program(traced(exported), tmp_path / "net.onnx", exported, {})
    with pytest.raises(RunError, match="has no operator to quantise"):
        quantized(tmp_path / "net.onnx", tmp_path / "int8.onnx", made_batches(exported, [4, 4]))


def test_predict_reads_the_file_in_place_of_the_run(digits_exports, digits_run, tmp_path, vkd):
    random = np.random.default_rng(0)
    for place in range(3):
        pixels = random.integers(0, 256, (9, 10), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{place}.png")
    expected, found = (
        vkd("predict", "--checkpoint", checkpoint, tmp_path).stdout.splitlines()
        for checkpoint in (digits_run, digits_exports / "float.onnx")
    )
    assert len(expected) == 3
    for one, two in zip(map(json.loads, expected), map(json.loads, found), strict=True):
        assert one["class"] == two["class"]
        assert one["probability"] == pytest.approx(two["probability"], abs=2e-4)
