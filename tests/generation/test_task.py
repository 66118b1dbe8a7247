"""GANs in training."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from vkd import whiten
from vkd.api.train import train
from vkd.errors import RunError
from vkd.generation.data import read_generation
from vkd.generation.task import GenerationTask
from vkd.training.checkpoint import read_metrics


def test_whitening_takes_its_statistics_of_all_training_images(config):
    task = GenerationTask(replace(config, whitening="data"))
    normalize = task.steps[1].module.method.loss.normalization
    teacher = task.steps[1].module.teacher
    images, _, _ = task.splits.train.__getitems__(list(range(len(task.splits.train))))
    white = normalize(teacher(images).only)
    variances = torch.linalg.eigvalsh(torch.cov(white.T))
    # 1 in every direction that the images span, but for the smallest.
    assert variances.max() < 1.05
    assert (variances > 0.95).sum() > 60
    by_batch = GenerationTask(replace(config, whitening="batch"))
    assert by_batch.steps[1].module.method.loss.normalization is whiten


def test_collapse_and_explosion_are_found(config):
    task = GenerationTask(config)
    assert task.check_health({"real": 1.0}, {"diversity": 0.8}) == ""
    assert task.check_health({"real": 1.0}, {}) == ""
    assert "collapsed" in task.check_health({"real": 1.0}, {"diversity": 0.05})
    assert "generator exploded" in task.check_health({"generator": -5e3}, {})


@pytest.mark.slow
def test_training_resumes_to_the_same_weights_bit_for_bit(config, tmp_path, train_in_two_parts):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(config, whole, show=False)
    train_in_two_parts(config, parts)
    first, second = (load_file(run / "model.safetensors") for run in (whole, parts))
    for name, weight in first.items():
        assert weight.equal(second[name]), name
    records = read_metrics(parts)
    assert set(records[0]["train"]) == {"generator", "real", "fake", "feature", "loss"}
    assert (whole / "samples" / "epoch-00002.png").is_file()
    assert len(load_file(whole / "subset.safetensors")["indices"]) == len(
        read_generation("digits", fraction=0.2).indices
    )
    weight = load_file(whole / "projection.safetensors")["weight"]
    torch.testing.assert_close(weight.T @ weight, torch.eye(16), atol=1e-5, rtol=0)


@pytest.mark.slow
def test_a_run_that_goes_wrong_rolls_back_and_then_stops(config, tmp_path, monkeypatch, capsys):
    faults = iter(["", "It went wrong", "", "", "It went wrong", "It went wrong"])
    monkeypatch.setattr(GenerationTask, "check_health", lambda *_: next(faults))
    changed = replace(config, epochs=4, rollbacks=2, samples=100)
    with pytest.raises(RunError, match=r"It went wrong in epoch 4; lower lr"):
        train(changed, tmp_path / "run", show=False)
    notes = (tmp_path / "run" / "notes.txt").read_text().splitlines()
    assert notes[0] == "It went wrong in epoch 2; resuming from epoch 1 with other random numbers."
    assert len(notes) == 2
    assert [record["epoch"] for record in read_metrics(tmp_path / "run")] == [1, 2, 3]


@pytest.mark.slow
def test_the_generator_steps_once_in_so_many_updates(config, tmp_path):
    train(replace(config, epochs=1, generator_every=4, samples=100), tmp_path / "run", show=False)
    with (tmp_path / "run" / "metrics.jsonl").open() as file:
        record = json.loads(file.readline())
    optimizers = [
        torch.load(tmp_path / "run/checkpoints/epoch-00001" / name, weights_only=True)
        for name in ("optimizer.bin", "optimizer_1.bin")
    ]
    steps = [next(iter(state["state"].values()))["step"] for state in optimizers]
    assert steps == [-(-record["updates"] // 4), record["updates"]]
