"""The losses of a detector (shared facts of DETR, Deformable DETR and ViDT).

Shapes: B images, D predictions of each, M places for objects of each, L layers of which each
predicts, C classes. Nothing here depends on the number of objects or looks at values, so that no
GPU is waited for.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from vkd.detection.matching import ALPHA, GAMMA, STANDARD, UNMATCHED, Rules
from vkd.detection.objects import Objects, Targets
from vkd.detection.overlap import overlaps


class Predictions(NamedTuple):
    """What all layers predict, the last one's last.

    Attributes:
        logits: (L, B, D, C).
        boxes: (L, B, D, 4), centre and size in 0..1.
        ious: logits (L, B, D, 1) of the overlap of boxes with their objects; None without.
    """

    logits: Tensor
    boxes: Tensor
    ious: Tensor | None


def predictions_of(outputs: dict[str, Any]) -> Predictions:
    """Return what all layers of a detector in training predict, in float32.

    Args:
        outputs: of a ``ViDT`` in training.
    """
    layers = [*outputs.get("aux_outputs", []), outputs]
    logits, boxes = (
        torch.stack([layer[name] for layer in layers]).float()
        for name in ("pred_logits", "pred_boxes")
    )
    ious = None
    if "pred_ious" in outputs:
        ious = torch.stack([layer["pred_ious"] for layer in layers]).float()
    return Predictions(logits, boxes, ious)


def detection_losses(
    found: Predictions, objects: Objects, matches: Tensor, count: Tensor, rules: Rules = STANDARD
) -> dict[str, Tensor]:
    """Return the unweighted losses ``class``, ``box``, ``giou`` (and ``iou`` where predicted).

    Each is that of every layer in order, (L,), the last one's last. Sums are divided by ``count``.

    Args:
        found: what is predicted.
        objects: of the images.
        matches: of ``match``, (L, B, M).
        count: of ``mean_count``, a scalar.
        rules: of the loss ``class``.
    """
    is_matched = (matches != UNMATCHED).float()
    places = matches.clamp(min=0)
    expected = objects.boxes.float()[None]
    boxes = found.boxes.gather(2, places[..., None].expand(-1, -1, -1, 4))
    shared, generalised = overlaps(boxes, expected)
    sums = {
        "box": (boxes - expected).abs().sum(-1),
        "giou": 1 - generalised,
    }
    if found.ious is not None:
        predicted = found.ious.squeeze(-1).gather(2, places)
        sums["iou"] = F.binary_cross_entropy_with_logits(
            predicted, shared.detach(), reduction="none"
        )
    losses = {name: (loss * is_matched).sum((1, 2)) / count for name, loss in sums.items()}
    if rules.softmax:
        losses["class"] = _softmax_loss(found.logits, objects, matches, rules.no_object_weight)
    else:
        expected = _one_hot(found.logits, objects, places, is_matched)
        focal = sigmoid_focal_loss(found.logits, expected, rules.alpha, GAMMA)
        losses["class"] = focal.sum((1, 2, 3)) / count
    return losses


def _one_hot(logits: Tensor, objects: Objects, places: Tensor, is_matched: Tensor) -> Tensor:
    """The class (L, B, D, C) of each prediction, zeros for those without object."""
    numbers = places * logits.shape[3] + objects.labels[None]
    flat = torch.zeros_like(logits).flatten(2)
    return flat.scatter_add(2, numbers, is_matched).view_as(logits)


def _softmax_loss(
    logits: Tensor, objects: Objects, matches: Tensor, no_object_weight: float
) -> Tensor:
    """Cross-entropy (L,) of all predictions, weighted, those without object being of no class."""
    layers, batch, predictions, outputs = logits.shape
    labels = objects.labels[None].expand(layers, -1, -1)
    # One place more, for what has no match.
    expected = labels.new_full((layers, batch, predictions + 1), outputs - 1)
    expected = expected.scatter(2, torch.where(matches == UNMATCHED, predictions, matches), labels)
    weights = F.pad(logits.new_ones(outputs - 1), (0, 1), value=no_object_weight)
    return torch.stack(
        [
            F.cross_entropy(ours.transpose(1, 2), theirs[:, :-1], weights)
            for ours, theirs in zip(logits, expected, strict=True)
        ]
    )


@torch.no_grad()
def class_error(found: Predictions, objects: Objects, matches: Tensor) -> Tensor:
    """Return the share in % of objects whose match in the last layer has another class.

    100 where there are no objects. Arguments as of ``detection_losses``.
    """
    last = matches[-1]
    is_matched = last != UNMATCHED
    guessed = found.logits[-1].argmax(-1).gather(1, last.clamp(min=0))
    hits = ((guessed == objects.labels) & is_matched).sum()
    return 100 - 100 * hits / is_matched.sum().clamp(min=1)


def token_label_loss(outputs: dict[str, Any], targets: Targets) -> Tensor:
    """Return the focal and dice loss of the classes of patches (ViDT+, section 3.2).

    Args:
        outputs: with ``patch_logits`` (B, L, classes) and ``patch_shapes``, (H, W) of each scale.
        targets: ``labels`` (K,) and ``masks`` (K, H, W) of each image, padded as the images are.
    """
    logits = outputs["patch_logits"].float()
    expected = torch.stack(
        [_patch_labels(target, outputs["patch_shapes"], logits.shape[-1]) for target in targets]
    ).to(logits.device)
    focal = sigmoid_focal_loss(logits, expected, ALPHA, GAMMA, reduction="sum")
    chance = logits.sigmoid().flatten(1)
    overlap = 2 * (chance * expected.flatten(1)).sum(1) + 1
    dice = 1 - overlap / (chance.sum(1) + expected.flatten(1).sum(1) + 1)
    return focal / expected.sum().clamp(min=1) + dice.mean()


def _patch_labels(target: dict[str, Tensor], shapes: list[torch.Size], classes: int) -> Tensor:
    """Classes of each patch, (L, classes): those whose masks cover half of it or more."""
    masks = target["masks"].float()
    rows = []
    for shape in shapes:
        covered = masks.new_zeros(classes, *shape)
        if len(masks):
            small = F.adaptive_avg_pool2d(masks[:, None], (shape[0], shape[1]))[:, 0]
            index = target["labels"][:, None, None].expand_as(small)
            covered.scatter_reduce_(0, index, small, "amax")
        rows.append((covered >= 0.5).float().flatten(1).T)
    return torch.cat(rows)
