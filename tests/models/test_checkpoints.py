"""Weights files: layouts that load, and files that are refused."""

import pickle

import pytest
import torch
from safetensors.torch import save_file

from vkd import create_model, load_checkpoint
from vkd.api.evaluate import evaluate
from vkd.cli import main
from vkd.errors import UserError
from vkd.models import checkpoints


@pytest.mark.parametrize("layout", ["plain", "model", "module", "run"])
def test_other_layouts_load_too(layout, tmp_path):
    model = create_model("deit_ti_distilled", num_classes=3, img_size=32)
    state = model.state_dict()
    file = tmp_path / ("model.safetensors" if layout == "run" else "weights.pth")
    if layout == "run":
        save_file(state, file)
        file = tmp_path
    else:
        renamed = {f"module.{k}": v for k, v in state.items()} if layout == "module" else state
        torch.save({"model": renamed} if layout == "model" else renamed, file)
    other = create_model("deit_ti_distilled", num_classes=3, img_size=32)
    load_checkpoint(other, file)
    for key, value in other.state_dict().items():
        torch.testing.assert_close(value, state[key])


def test_missing_and_unexpected_keys_are_listed(tmp_path):
    model = create_model("deit_ti_distilled", img_size=32, num_classes=2)
    state = model.state_dict()
    del state["norm.bias"]
    state["extra.weight"] = torch.ones(2)
    torch.save({"student": state}, tmp_path / "c.pth")
    with pytest.raises(UserError, match=r"missing: norm\.bias; unexpected: extra\.weight"):
        load_checkpoint(model, tmp_path / "c.pth")


class Payload:
    """Unpickling this makes a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        import os

        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("writer", ["torch", "legacy", "pickle"])
def test_code_in_a_pickle_is_refused_and_does_not_run(writer, tmp_path, capsys):
    file, trace = tmp_path / "evil.pth", tmp_path / "ran"
    saved = {"student": {"w": torch.ones(1)}, "args": Payload(trace)}
    if writer == "pickle":
        file.write_bytes(pickle.dumps(saved))
    else:
        torch.save(saved, file, _use_new_zipfile_serialization=writer == "torch")
    assert main(["convert", str(file), str(tmp_path / "out.safetensors")]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "evil.pth" in message
    assert not trace.exists()
    with pytest.raises(UserError):
        create_model("deit_ti_distilled", file)
    assert not trace.exists()


@pytest.mark.parametrize(
    "content", [b"", b"hello, I am no checkpoint", b"PK\x03\x04 broken", b"\x80\x02."]
)
def test_what_is_no_checkpoint_is_refused_in_one_sentence(content, tmp_path, capsys):
    file = tmp_path / "thing.pth"
    file.write_bytes(content)
    assert main(["convert", str(file), str(tmp_path / "out.safetensors")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.fixture
def readings(monkeypatch):
    """Names of the functions that read weights, one for each call."""
    found = []
    for name, home in (("safe_open", checkpoints), ("load", torch)):
        original = getattr(home, name)

        def read(*arguments, name=name, original=original, **options):
            found.append(name)
            return original(*arguments, **options)

        monkeypatch.setattr(home, name, read)
    return found


def test_a_weights_file_is_read_once(readings, tmp_path):
    state = create_model("cnn_digits", num_classes=7).state_dict()
    save_file(state, tmp_path / "weights.safetensors")
    torch.save(state, tmp_path / "weights.pth")
    assert create_model("cnn_digits", tmp_path / "weights.safetensors").head.out_features == 7
    assert readings == ["safe_open"]
    readings.clear()
    assert create_model("cnn_digits", tmp_path / "weights.pth").head.out_features == 7
    assert readings.count("load") == 1


def test_a_run_is_read_once_to_evaluate_it(readings, digits_run):
    evaluate(str(digits_run), device="cpu")
    assert readings == ["safe_open"]
