"""Exported files say who they are, read back by the libraries whose formats they have."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.torch import save_file

import vkd
from vkd.errors import UserError
from vkd.models.checkpoints import read_checkpoint

ENTRIES = ("architecture", "versions", "classes", "inputs")


def read_back(file):
    """What an exported file says of itself, by entry."""
    if file.suffix == ".onnx":
        found = {entry.key: entry.value for entry in onnx.load(file).metadata_props}
    else:
        found = dict.fromkeys(ENTRIES, "")
        torch.export.load(file, extra_files=found)
    texts = {name: value.decode() if isinstance(value, bytes) else value
             for name, value in found.items()}  # fmt: skip
    return {name: value if name == "architecture" else json.loads(value or "null")
            for name, value in texts.items() if name in ENTRIES}  # fmt: skip


@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_a_classifier_says_its_model_classes_inputs_and_versions(digits_run, tmp_path, suffix):
    file = tmp_path / f"net{suffix}"
    vkd.export(str(digits_run), file)
    found = read_back(file)
    checkpoint = read_checkpoint(digits_run)
    assert found["architecture"] == "conv_vit_digits"
    assert found["classes"] == [str(digit) for digit in range(10)]
    assert found["inputs"] == checkpoint.inputs
    assert found["versions"]["torch"] == torch.__version__
    assert found["versions"]["vkd"]
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_what_it_says_is_enough_to_use_it(digits_run, tmp_path, vkd):
    from PIL import Image
    from sklearn.datasets import load_digits

    pixels = (load_digits().images[7] * 15.9).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "digit.png")
    done = vkd("export", "--checkpoint", digits_run, tmp_path / "net.onnx")
    assert done.returncode == 0, done.stderr
    says = read_back(tmp_path / "net.onnx")
    mean, std = says["inputs"]["mean"], says["inputs"]["std"]
    assert says["inputs"]["shape"] == [1, *pixels.shape]
    image = ((pixels / 255 - mean[0]) / std[0])[None, None].astype(np.float32)
    session = onnxruntime.InferenceSession(
        tmp_path / "net.onnx", providers=["CPUExecutionProvider"]
    )
    assert session.get_modelmeta().custom_metadata_map["architecture"] == "conv_vit_digits"
    (logits,) = session.run(None, {"images": image})
    predicted = json.loads(
        vkd("predict", "--checkpoint", digits_run, tmp_path / "digit.png").stdout
    )
    assert says["classes"][logits[0].argmax()] == predicted["class"]


def test_a_generator_says_its_classes_and_takes_no_size(gan_run, tmp_path):
    vkd.export(str(gan_run), tmp_path / "gan.pt2")
    found = read_back(tmp_path / "gan.pt2")
    assert (found["architecture"], len(found["classes"])) == ("biggan", 10)
    with pytest.raises(UserError, match="height has no meaning for a generator"):
        vkd.export(str(gan_run), tmp_path / "other.pt2", size=(7, 7))


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (["out.onnx", "--height", "-1"], 2, "--height must be from 0 to 16,384, found -1"),
        (["out.onnx", "--width", "33"], 2, "does not take inputs of (2, 1, 8, 33)"),
        (["file/out.onnx"], 2, "is no folder"),
        (["out.txt"], 2, "must end in .onnx or .pt2"),
        (["file.onnx"], 2, "exists already"),
    ],
)
def test_what_cannot_be_exported_leaves_nothing(digits_run, tmp_path, vkd, words, code, expected):
    for name in ("file", "file.onnx"):
        (tmp_path / name).touch()
    done = vkd("export", "--checkpoint", digits_run, *words, cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (code, 1)
    assert expected in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"file", "file.onnx"}


def test_weights_that_say_nothing_export_as_their_model_is_published(tmp_path):
    import timm

    (tmp_path / "mine.yaml").write_text(
        "task: classification\ndataset: folder\ndata_path: there\nstudent: test_resnet\n"
        "input_size: 64\n"
    )
    state = timm.create_model("test_resnet", num_classes=5).state_dict()
    save_file(state, tmp_path / "w.safetensors")
    recipe = str(tmp_path / "mine.yaml")
    vkd.export(str(tmp_path / "w.safetensors"), tmp_path / "net.pt2", recipe)
    found = read_back(tmp_path / "net.pt2")
    published = timm.models.get_pretrained_cfg("test_resnet")
    assert found["architecture"] == "test_resnet"
    assert found["classes"] is None
    assert found["inputs"]["mean"] == list(published.mean)
    assert found["inputs"]["shape"] == [3, 64, 64]
