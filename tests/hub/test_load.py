"""Folders that are loaded, or refused in a sentence."""

import json
import os
import pickle

import pytest
import timm
import torch
from safetensors.torch import save_file

import vkd
from vkd.errors import UserError


@pytest.fixture
def folder(tmp_path):
    """A small network of timm's, published."""
    return vkd.save_pretrained(timm.create_model("test_resnet", num_classes=3), tmp_path / "model")


def change(folder, **entries):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | entries))


def refusal(folder):
    with pytest.raises(UserError) as found:
        vkd.from_pretrained(folder)
    assert len(str(found.value)) <= 300
    return str(found.value)


def test_what_timm_itself_saves_is_loaded(tmp_path):
    model = timm.create_model("test_resnet", num_classes=3, in_chans=1).eval()
    timm.models.save_for_hf(model, str(tmp_path), safe_serialization=True)
    loaded = vkd.from_pretrained(tmp_path)
    images = torch.randn(2, 1, 64, 64)
    assert torch.equal(loaded(images), model(images))
    assert not loaded.training


def test_a_run_folder_is_loaded(digits_run):
    loaded, made = vkd.from_pretrained(digits_run), vkd.create_model("conv_vit_digits", digits_run)
    for key, value in made.state_dict().items():
        assert loaded.state_dict()[key].equal(value)


class Trap:
    """What a pickle of it leaves when it is read."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pth", "model.safetensors"])
def test_nothing_is_unpickled(folder, name, tmp_path):
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    expected = "is not a safetensors file" if name == "model.safetensors" else "has no model.safe"
    assert expected in refusal(folder)
    assert not (tmp_path / "sprung").exists()


def test_code_that_comes_with_weights_is_not_run(folder, tmp_path):
    code = tmp_path / "network.py"
    code.write_text(f"open({str(tmp_path / 'run')!r}, 'w')\nmake = None\n")
    change(folder, architecture=f"{code}:make")
    assert "a network that no library has" in refusal(folder)
    assert not (tmp_path / "run").exists()


def test_damaged_folders_are_refused_in_a_sentence(folder):
    change(folder, architecture="resnet1")
    assert "did you mean" in refusal(folder)
    change(folder, architecture="test_vit")
    assert "does not fit VisionTransformer" in refusal(folder)
    change(folder, architecture=3)
    assert "architecture in config.json must be a name, found 3" in refusal(folder)
    change(folder, architecture="test_resnet", model_args={"layers": "three"})
    assert "cannot be built" in refusal(folder)
    (folder / "config.json").write_text("{")
    assert "no JSON object" in refusal(folder)
    (folder / "config.json").unlink()
    save_file({"weight": torch.zeros(2)}, folder / "model.safetensors")
    assert "does not say which network" in refusal(folder)
    (folder / "config.json").write_text("{}")
    assert "does not say which network" in refusal(folder)


def test_names_that_are_neither_folder_nor_repository_are_refused():
    assert "a repository of the hub is OWNER/NAME" in refusal("no/such/folder")
    assert "There is no folder" in refusal("alone")
