"""Trained generators: measured, and drawn from."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from vkd import create_model
from vkd.api.evaluate import evaluate
from vkd.api.predict import predict


@pytest.mark.slow
def test_samples_are_made_by_class_and_seed(gan_run, tmp_path, vkd):
    grid, folder = tmp_path / "grid.png", tmp_path / "folder"
    done = vkd(
        "predict", "--checkpoint", gan_run, "--output", grid, "--classes", "3,5", "--count", 4
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"image": str(grid), "classes": ["3", "5"]}
    with Image.open(grid) as picture:
        assert picture.size == (4 * 33 + 1, 2 * 33 + 1)
    records = predict(str(gan_run), [], output=str(folder), classes="7", count=3, seed=5)
    assert [record["class"] for record in records] == ["7"] * 3
    model = create_model("biggan", gan_run).eval()
    noise = model.draw(3, torch.Generator().manual_seed(5))
    with torch.no_grad():
        expected = model(noise, torch.tensor([7, 7, 7]))
    with Image.open(records[1]["image"]) as picture:
        pixels = torch.from_numpy(np.asarray(picture.convert("L"), dtype=np.float32))
    torch.testing.assert_close(pixels / 127.5 - 1, expected[1, 0], atol=0.02, rtol=0)
    wrong = vkd("predict", "--checkpoint", gan_run, "--classes", "eleven", "--output", "x.png")
    assert wrong.returncode == 2
    assert "no class 'eleven'" in wrong.stderr
    assert vkd("predict", "--checkpoint", gan_run, "picture.png").returncode == 2


@pytest.mark.slow
def test_evaluation_needs_the_run_folder_alone(gan_run):
    metrics = evaluate(str(gan_run), device="cpu")
    assert metrics["parameters"] == sum(
        p.numel() for p in create_model("biggan", gan_run).parameters()
    )
    assert metrics["frechet_distance"] > 0
    assert metrics["images_per_second"] > 0
    assert evaluate(str(gan_run), device="cpu")["frechet_distance"] == metrics["frechet_distance"]
