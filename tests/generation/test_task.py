"""GANs in training."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from vkd import whiten
from vkd.api.train import train
from vkd.data.sources import PhotographSource
from vkd.errors import RunError
from vkd.generation.data import read_generation
from vkd.generation.task import GenerationTask
from vkd.training.nested import load_nested
from vkd.training.records import read_metrics


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
        read_generation(PhotographSource("digits", ""), fraction=0.2).indices
    )
    weight = load_file(whole / "projection.safetensors")["weight"]
    torch.testing.assert_close(weight.T @ weight, torch.eye(16), atol=1e-5, rtol=0)


@pytest.mark.slow
def test_a_run_that_goes_wrong_rolls_back_and_then_stops(config, tmp_path, monkeypatch, capsys):
    faults = iter(["", "It went wrong", "", "", "It went wrong", "It went wrong"])

    def check_health(task, terms, validation):
        # Asked before an epoch is measured, and again after.
        return "" if validation else next(faults)

    monkeypatch.setattr(GenerationTask, "check_health", check_health)
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
    state = tmp_path / "run" / "checkpoints" / "epoch-00001"
    optimizers = [load_nested(state / f"optimizer-{index}.safetensors") for index in (0, 1)]
    steps = [next(iter(state["state"].values()))["step"] for state in optimizers]
    assert steps == [-(-record["updates"] // 4), record["updates"]]


@pytest.mark.parametrize("channels_last", [True, False])
def test_channels_last_reaches_generator_and_discriminator(config, channels_last):
    task = GenerationTask(replace(config, channels_last=channels_last))
    for network in (task.steps[0].module.generator, task.steps[1].module.discriminator):
        kernels = [m.weight for m in network.modules() if isinstance(m, nn.Conv2d)]
        kernels = [kernel for kernel in kernels if min(kernel.shape) > 1]
        assert kernels
        last = torch.channels_last
        assert {kernel.is_contiguous(memory_format=last) for kernel in kernels} == {channels_last}


def test_channels_last_reaches_what_the_discriminator_sees(config):
    task, seen = GenerationTask(replace(config, channels_last=True, diff_augment=False)), []
    discriminator = task.steps[1].module.discriminator
    discriminator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    side, channels = 32, task.splits.channels
    images, numbers = torch.zeros(8, channels, side, side), torch.arange(8)
    for step in task.steps:
        step.module((images, numbers, numbers))
    last = torch.channels_last
    assert [images.is_contiguous(memory_format=last) for images in seen] == [True, True]


def scripted(monkeypatch, diversities):
    """Let evaluations find these diversities, one after another."""
    values = iter(diversities)
    monkeypatch.setattr(
        GenerationTask, "evaluate", lambda *_: {"diversity": next(values), "frechet_distance": 1.0}
    )


def test_the_largest_diversity_survives_a_resumed_run(
    config, tmp_path, monkeypatch, train_in_two_parts
):
    scripted(monkeypatch, [0.8, 0.05])
    with pytest.raises(RunError, match=r"collapsed to a diversity of 0\.05 in epoch 2"):
        train_in_two_parts(replace(config, rollbacks=0), tmp_path / "run")


def test_a_resumed_run_has_no_new_rollbacks(config, tmp_path, monkeypatch):
    """It goes back once, is killed, and then has no rollback left."""
    scripted(monkeypatch, [0.8, 0.05, KeyboardInterrupt, 0.05])
    evaluate = GenerationTask.evaluate

    def killed(*arguments):
        found = evaluate(*arguments)
        if found["diversity"] is KeyboardInterrupt:
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(GenerationTask, "evaluate", killed)
    changed = replace(config, epochs=3, rollbacks=1)
    with pytest.raises(KeyboardInterrupt):
        train(changed, tmp_path / "run", show=False)
    assert len((tmp_path / "run" / "notes.txt").read_text().splitlines()) == 1
    with pytest.raises(RunError, match="collapsed"):
        train(changed, tmp_path / "run", resume=True, show=False)
    assert len((tmp_path / "run" / "notes.txt").read_text().splitlines()) == 1
