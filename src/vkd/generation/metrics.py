"""How good and how varied generated images are, by torch-fidelity's arithmetic on features."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from vkd.generation.config import INCEPTION


@dataclass(frozen=True)
class MetricNames:
    """The names of the Frechet distance, the kernel distance and the class score."""

    distance: str
    kernel: str
    score: str


def metric_names(extractor: str) -> MetricNames:
    """Return the names of metrics: FID, KID and IS are those on Inception's features alone."""
    if extractor == INCEPTION:
        return MetricNames("FID", "KID", "IS")
    return MetricNames("frechet_distance", "kernel_distance", "class_score")


@dataclass
class ExtractorOutput:
    """An extractor's output for images: ``features`` (N, D), ``logits`` (N, K), and the
    ``labels`` (N,) of the images."""

    features: Tensor
    logits: Tensor
    labels: Tensor


def generation_metrics(
    real: ExtractorOutput, generated: ExtractorOutput, extractor: str
) -> dict[str, float]:
    """Return the metrics of generated images against real ones.

    With Inception's features these are FID, KID and IS; with those of any other extractor the
    same arithmetic is ``frechet_distance``, ``kernel_distance`` and ``class_score``. Then
    ``precision`` and ``recall`` (0..1); and ``diversity``, the mean distance of images of a class
    as a share of that of real ones. A classifier of the same classes also gives ``accuracy``, the
    share in % that it recognises as the class they were generated as, and ``coverage``, the share
    in % of classes for which that is so for half of the images or more.
    """
    names = metric_names(extractor)
    subset = min(1000, len(real.features), len(generated.features))
    kernel = kid_features_to_metric(
        generated.features, real.features, kid_subsets=20, kid_subset_size=subset, verbose=False
    )
    score = isc_features_to_metric(
        generated.logits, splits=min(10, max(1, len(generated.logits) // 100))
    )
    overlap = prc_features_to_metric(
        generated.features, real.features, prc_neighborhood=3, prc_batch_size=1000, verbose=False
    )
    metrics = {
        names.distance: frechet_distance(real.features, generated.features),
        names.kernel: kernel["kernel_inception_distance_mean"],
        names.score: score["inception_score_mean"],
        "precision": overlap["precision"],
        "recall": overlap["recall"],
        "diversity": _spread(generated) / max(_spread(real), 1e-12),
    }
    if extractor != INCEPTION and generated.logits.shape[1] > int(real.labels.max()):
        metrics |= _recognition(generated)
    return {name: float(value) for name, value in metrics.items()}


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """Return the Frechet distance of two sets of features (N, D), by torch-fidelity."""
    statistics = [fid_features_to_statistics(part) for part in (first, second)]
    found = fid_statistics_to_metric(*statistics, verbose=False)
    return found["frechet_inception_distance"]


def _spread(output: ExtractorOutput) -> float:
    """Mean distance between images of the same class, over classes with two or more."""
    found = []
    for label in output.labels.unique():
        features = output.features[output.labels == label][:200]
        if len(features) > 1:
            found.append(torch.pdist(features).mean())
    return torch.stack(found).mean().item() if found else 0.0


def _recognition(generated: ExtractorOutput) -> dict[str, float]:
    right = (generated.logits.argmax(1) == generated.labels).float()
    shares = torch.stack(
        [right[generated.labels == label].mean() for label in generated.labels.unique()]
    )
    covered = (shares >= 0.5).float().mean()
    return {"accuracy": 100 * right.mean().item(), "coverage": 100 * covered.item()}
