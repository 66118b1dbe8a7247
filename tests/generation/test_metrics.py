"""Metrics of generated images against formulas and torch-fidelity."""

import numpy as np
import pytest
import torch
import torch_fidelity
from scipy import linalg
from torch.utils.data import Subset

from vkd.generation.metrics import ExtractorOutput, frechet_distance, generation_metrics


def seen(count, dim=12, shift=0.0, seed=0):
    torch.manual_seed(seed)
    features = torch.randn(count, dim) * torch.linspace(0.5, 2, dim) + shift
    return ExtractorOutput(features, torch.randn(count, 10), torch.arange(count) % 10)


def test_the_frechet_distance_equals_its_formula_and_torch_fidelitys():
    first, second = seen(400).features, seen(300, shift=0.3, seed=1).features
    found = frechet_distance(first, second)
    means = [part.double().mean(0).numpy() for part in (first, second)]
    covariances = [np.cov(part.double().numpy(), rowvar=False) for part in (first, second)]
    root = linalg.sqrtm(covariances[0] @ covariances[1]).real
    difference = means[0] - means[1]
    expected = difference @ difference + np.trace(sum(covariances) - 2 * root)
    assert found == pytest.approx(expected, rel=1e-4)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-4)


class Means(torch_fidelity.FeatureExtractorBase):
    """An extractor for torch-fidelity: means of 8 x 8 squares of each channel, also as logits."""

    def __init__(self, name, features_list, **kwargs):
        super().__init__(name, features_list)

    @staticmethod
    def get_provided_features_list():
        return ("means",)

    @staticmethod
    def get_default_feature_layer_for_metric(metric):
        return "means"

    @staticmethod
    def can_be_compiled():
        return False

    @staticmethod
    def get_dummy_input_for_compile():
        return torch.zeros(1, 3, 32, 32, dtype=torch.uint8)

    def forward(self, images):
        return (means_of(images),)


def means_of(images):
    return torch.nn.functional.avg_pool2d(images.float(), 8).flatten(1) / 64


def test_all_metrics_equal_torch_fidelitys_own_run_on_the_same_images():
    torch.manual_seed(0)
    real = torch.randint(0, 256, (300, 3, 32, 32), dtype=torch.uint8)
    made = torch.randint(40, 256, (300, 3, 32, 32), dtype=torch.uint8)
    torch_fidelity.register_feature_extractor("means", Means)
    theirs = torch_fidelity.calculate_metrics(
        input1=Subset(made, range(300)), input2=Subset(real, range(300)),
        cuda=False, fid=True, kid=True, isc=True, prc=True, feature_extractor="means",
        kid_subsets=20, kid_subset_size=300, isc_splits=3, verbose=False, cache=False,
    )  # fmt: skip
    labels = torch.arange(300) % 10
    seen_real, seen_made = (
        ExtractorOutput(means_of(part), means_of(part), labels) for part in (real, made)
    )  # fmt: skip
    ours = generation_metrics(seen_real, seen_made, "inception")
    for name, key in {
        "FID": "frechet_inception_distance", "KID": "kernel_inception_distance_mean",
        "IS": "inception_score_mean", "precision": "precision", "recall": "recall",
    }.items():  # fmt: skip
        assert ours[name] == pytest.approx(theirs[key], rel=1e-5, abs=1e-9), name


def test_metrics_are_called_fid_with_inception_alone():
    real, made = seen(300), seen(300, shift=0.2, seed=1)
    with_inception = generation_metrics(real, made, "inception")
    local = generation_metrics(real, made, "cnn_digits")
    assert {"FID", "KID", "IS"} <= with_inception.keys()
    assert not {"FID", "KID", "IS"} & local.keys()
    assert local["frechet_distance"] == with_inception["FID"]
    assert {"accuracy", "coverage"} <= local.keys()


def test_precision_and_recall_fall_on_the_right_side():
    # Made images that are a small part of the real ones: precise, but they recall little.
    torch.manual_seed(0)
    real = ExtractorOutput(torch.randn(600, 4), torch.randn(600, 10), torch.arange(600) % 10)
    made = ExtractorOutput(0.2 * torch.randn(600, 4), torch.randn(600, 10), torch.arange(600) % 10)
    metrics = generation_metrics(real, made, "cnn_digits")
    assert metrics["precision"] > 0.9
    assert metrics["recall"] < 0.3
    assert metrics["diversity"] == pytest.approx(0.2, abs=0.05)


def test_accuracy_and_coverage_count_recognised_classes():
    labels = torch.arange(100) % 10
    logits = torch.nn.functional.one_hot(labels, 10).float()
    logits[labels == 3] = torch.nn.functional.one_hot(torch.tensor(5), 10).float()
    made = ExtractorOutput(torch.randn(100, 4), logits, labels)
    metrics = generation_metrics(seen(200, 4), made, "cnn_digits")
    assert metrics["accuracy"] == pytest.approx(90)
    assert metrics["coverage"] == pytest.approx(90)
