"""Classifiers in training."""

from dataclasses import replace

import pytest
import torch

from vkd.api.train import train
from vkd.classification.task import ClassificationTask
from vkd.data.images import Images
from vkd.errors import UserError
from vkd.recipe import config_of, read_recipe
from vkd.training.records import read_metrics


@pytest.fixture
def config(digits_teacher):
    values = read_recipe("digits") | {
        "epochs": 4, "warmup_epochs": 1, "device": "cpu", "checkpoint_every": 1,
        "evaluate_every": 1, "teacher_checkpoint": str(digits_teacher), "trackers": "",
        "crop_padding": 1, "ema_decay": 0.9,
    }  # fmt: skip
    return config_of(values)


@pytest.mark.parametrize(
    "fields",
    [
        {"feature_weight": 0.0},
        {"feature_weight": 0.0, "logit_weight": 1.0},
        {"projection": "mlp", "normalization": "standardize", "logit_weight": 1.0},
        {"projection": "linear", "normalization": "whiten", "clip_grad": 1.0},
        {"mixed_precision": "bf16"},
    ],
)
def test_each_way_of_training_runs(config, tmp_path, fields):
    metrics = train(replace(config, epochs=2, **fields), tmp_path / "run", show=False)
    assert 5 < metrics["accuracy"] <= 100
    terms = read_metrics(tmp_path / "run")[-1]["train"]
    assert ("feature" in terms) == bool(fields.get("feature_weight", 1))
    assert ("logit" in terms) == ("logit_weight" in fields)
    assert terms["loss"] == pytest.approx(sum(v for k, v in terms.items() if k != "loss"), rel=1e-4)


def test_repeated_augmentation_shows_each_chosen_image_three_times(config, tmp_path):
    images = Images(torch.zeros(300, 1, 2, 2), torch.zeros(300).long())
    task = ClassificationTask(replace(config, repeated_augmentation=3, batch_size=30))
    task.images = images
    seen = torch.cat([indices for _, _, indices in task.train_loader()])
    _, counts = seen.unique(return_counts=True)
    assert len(seen) == 300
    assert counts.tolist() == [3] * 100
    train(replace(config, repeated_augmentation=3, epochs=2), tmp_path / "run", show=False)
    assert len(read_metrics(tmp_path / "run")) == 2


def test_mixing_needs_an_even_batch_and_trains(config, tmp_path):
    with pytest.raises(UserError, match="batch_size must be even"):
        replace(config, mixup=0.8, batch_size=3)
    config = replace(config, mixup=0.8, cutmix=1.0, label_smoothing=0.1, epochs=1, warmup_epochs=0)
    terms = [
        (train(config, tmp_path / str(i), show=False), read_metrics(tmp_path / str(i))[0]["train"])
        for i in range(2)
    ]
    assert terms[0] == terms[1]
