"""The scripts of docs/deploying.md need no torch, and answer as ``vkd predict`` does."""

import json

import numpy as np
import pytest
from PIL import Image

import vkd as package
from support.deploying import run_script


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Digits as grey and coloured pictures of other sizes than the network's."""
    from sklearn.datasets import load_digits

    folder = tmp_path_factory.mktemp("pictures")
    for place in (7, 100, 400):
        pixels = (load_digits().images[place] * 15.9).astype(np.uint8)
        picture = Image.fromarray(pixels).resize((20, 24), Image.Resampling.BILINEAR)
        picture.convert("RGB" if place == 7 else "L").save(folder / f"{place}.png")
    return sorted(folder.iterdir())


def test_a_classifier_is_used_without_this_package(
    digits_run, digits_exports, pictures, tmp_path, vkd
):
    done = vkd("predict", "--checkpoint", digits_run, *pictures)
    for line, picture in zip(done.stdout.splitlines(), pictures, strict=True):
        printed = run_script("classify.py", tmp_path, digits_exports / "float.onnx", picture)
        assert printed.strip() == json.loads(line)["class"]


def test_a_photograph_is_cropped_as_vkd_crops_it(tmp_path, vkd):
    import timm
    from safetensors.torch import save_file

    (tmp_path / "mine.yaml").write_text(
        "task: classification\ndataset: folder\ndata_path: there\nstudent: test_resnet\n"
        "input_size: 64\n"
    )
    state = timm.create_model("test_resnet", num_classes=5).state_dict()
    metadata = {"classes": json.dumps(list("abcde"))}
    save_file(state, tmp_path / "w.safetensors", metadata)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (97, 143, 3), dtype=np.uint8)).save(
        tmp_path / "a.png"
    )
    words = ("--checkpoint", tmp_path / "w.safetensors", "--recipe", tmp_path / "mine.yaml")
    done = vkd("export", *words, tmp_path / "net.onnx", "--pictures", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "on 1 picture of" in done.stdout
    assert package.read_exported(tmp_path / "net.onnx").inputs.crop < 1
    expected = json.loads(vkd("predict", *words, tmp_path / "a.png").stdout)
    found = json.loads(
        vkd("predict", "--checkpoint", tmp_path / "net.onnx", tmp_path / "a.png").stdout
    )
    assert found == expected | {"probability": pytest.approx(expected["probability"], abs=2e-4)}
    printed = run_script("classify.py", tmp_path, tmp_path / "net.onnx", tmp_path / "a.png")
    assert printed.strip() == expected["class"]
