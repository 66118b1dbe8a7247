"""Classifiers of photographs."""

import pytest
import timm
import torch

from support.photographs import CLASSES, write_folder
from vkd.cli import main
from vkd.training.records import read_metrics


@pytest.mark.parametrize("weights", [(0, 1), (1, 0), (0, 0)])
def test_either_loss_can_be_left_out(photographs, tmp_path, weights):
    code = main([
        "train", "deit-tiny-imagenet", "--output", str(tmp_path / "run"), "--device", "cpu",
        "--data-path", str(photographs), "--input-size", "32", "--epochs", "1",
        "--batch-size", "12", "--workers", "0", "--teacher", "resnet10t",
        "--teacher-layer", "layer4",
        "--teacher-checkpoint", str(_resnet(tmp_path)), "--feature-weight", str(weights[0]),
        "--logit-weight", str(weights[1]),
    ])  # fmt: skip
    assert code == 0
    terms = set(read_metrics(tmp_path / "run")[0]["train"])
    assert ("feature" in terms, "logit" in terms) == (bool(weights[0]), bool(weights[1]))
    predicted = tmp_path / "run" / "model.safetensors"
    image = next((photographs / "val").rglob("*.JPEG"))
    assert main(["predict", str(image), "--checkpoint", str(predicted)]) == 0


def _resnet(folder):
    model = timm.create_model("resnet10t", num_classes=CLASSES)
    torch.save({"state_dict": model.state_dict()}, folder / "resnet.pth")
    return folder / "resnet.pth"


@pytest.mark.slow
def test_too_many_corrupt_images_end_a_run_in_one_sentence(tmp_path, capsys):
    write_folder(tmp_path)
    for file in (tmp_path / "train" / "n01").iterdir():
        file.write_bytes(b"")
    code = main([
        "train", "deit-tiny-imagenet", "--output", str(tmp_path / "run"), "--device", "cpu",
        "--data-path", str(tmp_path), "--input-size", "32", "--epochs", "1", "--batch-size", "12",
        "--workers", "1", "--feature-weight", "0", "--logit-weight", "0", "--max-corrupt", "2",
        "--mixed-precision", "no",
    ])  # fmt: skip
    assert code == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("vkd: 3 images cannot be read, more than max_corrupt = 2")
    assert not any("Traceback" in line for line in lines)
