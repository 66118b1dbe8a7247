"""How good and how varied generated images are, by torch-fidelity's arithmetic on features."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from vkd.generation.vision import INCEPTION

# FID, KID and the inception score are the names of metrics on Inception's features alone.
NAMES = {
    True: {"distance": "FID", "kernel": "KID", "score": "IS"},
    False: {"distance": "frechet_distance", "kernel": "kernel_distance", "score": "class_score"},
}


@dataclass
class Seen:
    """What an extractor says of images: ``features`` (N, D), ``logits`` (N, K), and the
    ``labels`` (N,) of the images."""

    features: Tensor
    logits: Tensor
    labels: Tensor


def generation_metrics(real: Seen, made: Seen, extractor: str) -> dict[str, float]:
    """Return the metrics of made images against real ones.

    With Inception's features these are FID, KID and IS; with those of any other extractor the
    same arithmetic is ``frechet_distance``, ``kernel_distance`` and ``class_score``. Then
    ``precision`` and ``recall`` (0..1); and ``diversity``, the mean distance of images of a class
    as a share of that of real ones. A classifier of the same classes also gives ``accuracy``, the
    share in % that it takes for the class they were made as, and ``coverage``, the share in % of
    classes for which that is so for half of the images or more.
    """
    names = NAMES[extractor == INCEPTION]
    subset = min(1000, len(real.features), len(made.features))
    kernel = kid_features_to_metric(
        made.features, real.features, kid_subsets=20, kid_subset_size=subset, verbose=False
    )
    score = isc_features_to_metric(made.logits, splits=min(10, max(1, len(made.logits) // 100)))
    overlap = prc_features_to_metric(
        made.features, real.features, prc_neighborhood=3, prc_batch_size=1000, verbose=False
    )
    metrics = {
        names["distance"]: frechet_distance(real.features, made.features),
        names["kernel"]: kernel["kernel_inception_distance_mean"],
        names["score"]: score["inception_score_mean"],
        "precision": overlap["precision"],
        "recall": overlap["recall"],
        "diversity": _spread(made) / max(_spread(real), 1e-12),
    }
    if extractor != INCEPTION and made.logits.shape[1] > int(real.labels.max()):
        metrics |= _recognition(made)
    return {name: float(value) for name, value in metrics.items()}


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """Return the Frechet distance of two sets of features (N, D), by torch-fidelity."""
    statistics = [fid_features_to_statistics(part) for part in (first, second)]
    found = fid_statistics_to_metric(*statistics, verbose=False)
    return found["frechet_inception_distance"]


def _spread(seen: Seen) -> float:
    """Mean distance between images of the same class, over classes with two or more."""
    found = []
    for label in seen.labels.unique():
        features = seen.features[seen.labels == label][:200]
        if len(features) > 1:
            found.append(torch.pdist(features).mean())
    return torch.stack(found).mean().item() if found else 0.0


def _recognition(made: Seen) -> dict[str, float]:
    right = (made.logits.argmax(1) == made.labels).float()
    shares = torch.stack([right[made.labels == label].mean() for label in made.labels.unique()])
    covered = (shares >= 0.5).float().mean()
    return {"accuracy": 100 * right.mean().item(), "coverage": 100 * covered.item()}
