"""The losses of a detector (shared facts of DETR, Deformable DETR and ViDT)."""

from typing import Any

import torch
from accelerate import PartialState
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_convert, box_iou, generalized_box_iou_loss, sigmoid_focal_loss

from vkd.detection.matching import ALPHA, GAMMA, STANDARD, Match, Rules, Targets, match


def match_layers(
    outputs: dict[str, Any], targets: Targets, rules: Rules = STANDARD
) -> list[list[Match]]:
    """Return the matches of each layer in order, the last one's last; see ``detection_losses``."""
    layers = _layers(outputs)
    logits = torch.stack([layer["pred_logits"] for layer in layers])
    boxes = torch.stack([layer["pred_boxes"] for layer in layers])
    return match(logits, boxes, targets, rules)


def _layers(outputs: dict[str, Any]) -> list[dict[str, Tensor]]:
    return [*outputs.get("aux_outputs", []), outputs]


def detection_losses(
    outputs: dict[str, Any],
    targets: Targets,
    rules: Rules = STANDARD,
    matches: list[list[Match]] | None = None,
) -> list[dict[str, Tensor]]:
    """Return the unweighted losses ``class``, ``box``, ``giou`` (and ``iou`` where predicted).

    A dict for each layer in order, the last one's last; each layer has a matching of its own. Sums
    are divided by the number of objects, averaged over processes and at least 1.

    Args:
        outputs: of a ``ViDT`` in training.
        targets: ``labels`` (K,) and ``boxes`` (K, 4) of each image.
        rules: of matching, and of the loss ``class``.
        matches: of ``match_layers``, where they are known already.
    """
    if matches is None:
        matches = match_layers(outputs, targets, rules)
    count = mean_count(targets, outputs["pred_logits"].device)
    return [
        _layer_losses(layer, targets, matched, count, rules)
        for layer, matched in zip(_layers(outputs), matches, strict=True)
    ]


@torch.no_grad()
def class_error(outputs: dict[str, Any], targets: Targets, matches: list[Match]) -> Tensor:
    """Return the share in % of objects whose matched prediction has another class; 100 for none.

    Args:
        outputs: of a ``ViDT`` in training.
        targets: ``labels`` (K,) of each image.
        matches: of the last layer.
    """
    logits = outputs["pred_logits"]
    hits, count = torch.zeros((), device=logits.device), 0
    for image, (predictions, objects) in enumerate(matches):
        labels = targets[image]["labels"][objects.to(logits.device)]
        found = logits[image, predictions.to(logits.device)].argmax(-1)
        hits, count = hits + (found == labels.to(found.device)).sum(), count + len(objects)
    return 100 - 100 * hits / max(count, 1)


def mean_count(targets: Targets, device: torch.device) -> Tensor:
    """Return the number of objects of a process, averaged over processes, at least 1."""
    count = torch.tensor(float(sum(len(target["labels"]) for target in targets)), device=device)
    state = PartialState()
    if state.num_processes > 1:
        torch.distributed.all_reduce(count)
        count /= state.num_processes
    return count.clamp(min=1)


def _layer_losses(
    layer: dict[str, Tensor],
    targets: Targets,
    matches: list[Match],
    count: Tensor,
    rules: Rules,
) -> dict[str, Tensor]:
    logits = layer["pred_logits"].float()
    device = logits.device
    images = torch.cat([torch.full_like(p, image) for image, (p, _) in enumerate(matches)])
    found = images.to(device), torch.cat([p for p, _ in matches]).to(device)
    pairs = [(t, objects.to(device)) for t, (_, objects) in zip(targets, matches, strict=True)]
    labels = torch.cat([target["labels"][objects] for target, objects in pairs])
    expected = torch.cat([target["boxes"][objects] for target, objects in pairs])
    boxes = layer["pred_boxes"].float()[found]
    corners, target_corners = (box_convert(part, "cxcywh", "xyxy") for part in (boxes, expected))
    losses = {
        "box": F.l1_loss(boxes, expected, reduction="sum"),
        "giou": generalized_box_iou_loss(corners, target_corners, reduction="sum"),
    }
    if "pred_ious" in layer:
        overlap = box_iou(corners.detach(), target_corners).diagonal()
        predicted = layer["pred_ious"].float()[found].squeeze(-1)
        losses["iou"] = F.binary_cross_entropy_with_logits(predicted, overlap, reduction="sum")
    if not rules.softmax:
        one_hot = torch.zeros_like(logits)
        one_hot[(*found, labels)] = 1.0
        losses["class"] = sigmoid_focal_loss(logits, one_hot, rules.alpha, GAMMA, reduction="sum")
    losses = {name: loss / count for name, loss in losses.items()}
    if rules.softmax:
        losses["class"] = _softmax_loss(logits, found, labels, rules.no_object_weight)
    return losses


def _softmax_loss(
    logits: Tensor, found: tuple[Tensor, Tensor], labels: Tensor, no_object_weight: float
) -> Tensor:
    """Cross-entropy of all predictions, weighted, those that are not ``found`` being no object."""
    no_object = logits.shape[-1] - 1
    expected = torch.full(logits.shape[:2], no_object, device=logits.device)
    expected[found] = labels.to(logits.device)
    weights = logits.new_ones(no_object + 1)
    weights[-1] = no_object_weight
    return F.cross_entropy(logits.transpose(1, 2), expected, weights)


def token_label_loss(outputs: dict[str, Any], targets: Targets) -> Tensor:
    """Return the focal and dice loss of the classes of patches (ViDT+, section 3.2).

    Args:
        outputs: with ``patch_logits`` (B, L, classes) and ``patch_shapes``, (H, W) of each scale.
        targets: also with ``masks`` (K, H, W), padded as the images are.
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
