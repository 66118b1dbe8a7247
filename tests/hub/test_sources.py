"""Students of every source, published: built again from the folder alone."""

import json
import shutil

import pytest
import timm
import torch
from safetensors import safe_open

import vkd
from support.networks import SIDE, runs_of, save_network, write_file
from vkd.errors import UserError
from vkd.models import create_model

QUICK = {
    "epochs": 1, "warmup_epochs": 0, "batch_size": 4, "device": "cpu", "trackers": "",
    "show": False, "feature_weight": 0.0,
}  # fmt: skip
IMAGES = torch.linspace(-1, 1, 2 * 3 * SIDE * SIDE).view(2, 3, SIDE, SIDE)


def data():
    random = torch.Generator().manual_seed(0)
    images = [(torch.randn(3, SIDE, SIDE, generator=random), index % 3) for index in range(8)]
    return vkd.splits_of(images, images[:4], images[4:], classes=["a", "b", "c"])


def trained(student, folder):
    """A run of one epoch on eight images."""
    vkd.train("digits", folder, data=data(), student=student, **QUICK)
    return folder


def answers(network):
    with torch.no_grad():
        return network.eval()(IMAGES)


def test_a_student_of_transformers_needs_no_folder_of_its_own_any_more(tmp_path):
    pytest.importorskip("transformers")
    place = tmp_path / "alice" / "vit"
    save_network("vit-classifier", place)
    run = trained(f"hf/{place}", tmp_path / "run")
    expected = answers(create_model(f"hf/{place}", run))
    accuracy = vkd.evaluate(str(run), data=data())["accuracy"]
    folder = vkd.save_pretrained(run, tmp_path / "published")
    shutil.rmtree(tmp_path / "alice")
    shutil.rmtree(run)
    assert torch.equal(answers(vkd.from_pretrained(folder)), expected)
    assert vkd.evaluate(str(folder), data=data())["accuracy"] == accuracy
    config = json.loads((folder / "config.json").read_text())
    assert (config["architecture"], config["label_names"]) == ("hf/vit", ["a", "b", "c"])
    for file in folder.iterdir():
        assert b"alice" not in file.read_bytes(), file.name


def test_a_student_of_torchvision(tmp_path):
    run = trained("torchvision/mobilenet_v3_small", tmp_path / "run")
    folder = vkd.save_pretrained(run, tmp_path / "published")
    expected = answers(create_model("torchvision/mobilenet_v3_small", run))
    assert torch.equal(answers(vkd.from_pretrained(folder)), expected)
    assert "timm.create_model" not in (folder / "README.md").read_text()


def test_a_student_of_timm_by_its_long_name(tmp_path):
    run = trained("timm/test_vit", tmp_path / "run")
    folder = vkd.save_pretrained(run, tmp_path / "published")
    loaded = timm.create_model(f"local-dir:{folder}", pretrained=True)
    assert torch.equal(answers(loaded), answers(vkd.from_pretrained(folder)))


def test_a_student_of_a_run_has_that_ones_name(digits_run, tmp_path):
    vkd.train("digits", tmp_path / "run", student=str(digits_run), student_layer="norm", **QUICK)
    folder = vkd.save_pretrained(tmp_path / "run", tmp_path / "published")
    assert json.loads((folder / "config.json").read_text())["architecture"] == "conv_vit_digits"
    recipe = json.loads(safe_open(folder / "model.safetensors", "pt").metadata()["recipe"])
    assert recipe["student"] == "conv_vit_digits"
    assert vkd.evaluate(str(folder))["accuracy"] == vkd.evaluate(str(tmp_path / "run"))["accuracy"]


def test_a_student_of_a_file_runs_it_only_where_it_is_named(tmp_path):
    file = write_file(tmp_path)
    name = f"{file}:build"
    run = trained(name, tmp_path / "run")
    before = runs_of(file)
    with pytest.raises(UserError, match="runs only where you name it"):
        vkd.save_pretrained(run, tmp_path / "published")
    assert runs_of(file) == before
    folder = vkd.save_pretrained(run, tmp_path / "published", student=name)
    after = runs_of(file)
    with pytest.raises(UserError, match=r"no library has \(net\.py:build\)"):
        vkd.from_pretrained(folder)
    assert runs_of(file) == after
    loaded = vkd.from_pretrained(folder, student=create_model(name, num_classes=3))
    assert torch.equal(answers(loaded), answers(create_model(name, run)))


def test_networks_that_tell_how_they_are_built(tmp_path):
    pytest.importorskip("transformers")
    save_network("dinov2", tmp_path / "saved")
    network = create_model(f"hf/{tmp_path / 'saved'}", num_classes=0).eval()
    folder = vkd.save_pretrained(network, tmp_path / "published", architecture="hf/me/dino")
    shutil.rmtree(tmp_path / "saved")
    assert torch.equal(answers(vkd.from_pretrained(folder)), answers(network))
