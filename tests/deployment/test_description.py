"""What exported files say of themselves is read back without running them."""

import json
import zipfile

import onnx
import pytest

import vkd
from vkd.errors import UserError
from vkd.models.checkpoints import read_checkpoint


@pytest.fixture(params=["float.onnx", "float.pt2"])
def file(request, digits_exports):
    """The digits student, exported."""
    return digits_exports / request.param


def test_a_classifier_says_all_that_using_it_needs(file, digits_run):
    found = vkd.read_exported(file)
    assert (found.task, found.architecture) == ("classification", "conv_vit_digits")
    assert found.classes == [str(digit) for digit in range(10)]
    assert found.takes == {"images": {"shape": ["batch", 1, 8, 8], "dtype": "float32"}}
    assert found.gives == ["logits"]
    assert found.inputs.mean == tuple(read_checkpoint(digits_run).inputs["mean"])
    assert found.inputs.size == (8, 8)
    assert found.versions["vkd"] == vkd.__version__
    assert (found.license, found.quantization) == ("", {})
    cost = json.loads(found.metadata["cost"])
    assert cost["parameters"] == vkd.evaluate(str(digits_run), device="cpu")["parameters"]


def test_a_generator_takes_noise_and_labels(gan_run, tmp_path):
    vkd.export(str(gan_run), tmp_path / "gan.pt2")
    found = vkd.read_exported(tmp_path / "gan.pt2")
    assert (found.task, found.inputs, len(found.classes)) == ("generation", None, 10)
    assert found.takes["labels"] == {"shape": ["batch"], "dtype": "int64"}


def test_a_licence_is_kept(digits_run, tmp_path):
    from safetensors.torch import load_file, save_file

    metadata = read_checkpoint(digits_run).metadata | {"license": "cc-by-4.0"}
    save_file(load_file(digits_run / "model.safetensors"), tmp_path / "w.safetensors", metadata)
    vkd.export(str(tmp_path / "w.safetensors"), tmp_path / "net.pt2")
    assert vkd.read_exported(tmp_path / "net.pt2").license == "cc-by-4.0"


def test_others_files_say_nothing_and_what_is_no_file_is_refused(tmp_path):
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    ends = [onnx.helper.make_tensor_value_info(name, 1, [1]) for name in "xy"]
    graph = onnx.helper.make_graph([node], "g", ends[:1], ends[1:])
    opset = [onnx.helper.make_opsetid("", 18)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=9), tmp_path / "a.onnx")
    found = vkd.read_exported(tmp_path / "a.onnx")
    assert (found.task, found.classes, found.inputs, found.takes) == ("", [], None, {})
    (tmp_path / "b.onnx").write_bytes(b"none")
    (tmp_path / "b.pt2").write_bytes(b"none")
    with zipfile.ZipFile(tmp_path / "c.pt2", "w") as archive:
        archive.writestr("c/extra/classes", "7")
    for name in ("b.onnx", "b.pt2", "c.pt2", "none.onnx", "b.txt"):
        with pytest.raises(UserError):
            vkd.read_exported(tmp_path / name)


def test_a_file_is_no_weights(file, tmp_path, vkd):
    done = vkd("convert", file, tmp_path / "w.safetensors")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "is an exported network, whose weights cannot be taken" in done.stderr
    done = vkd("export", "--checkpoint", file, tmp_path / "again.onnx")
    assert done.returncode == 2
    assert "export" in done.stderr
