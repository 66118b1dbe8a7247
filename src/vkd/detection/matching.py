"""Which prediction is matched to which object (DETR, Carion et al. 2020, section 3.1)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from vkd.detection.objects import Objects
from vkd.detection.overlap import overlaps

ALPHA, GAMMA = 0.25, 2.0
UNMATCHED = -1


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How predictions are matched with objects, and how their classes are compared.

    Attributes:
        class_cost, box_cost, giou_cost: weights of class, L1 and generalised-IoU cost.
        alpha: of the focal loss and cost.
        softmax: whether classes exclude each other, the last being "no object"; cross-entropy then
            takes the place of the focal loss, and the probability's negative that of its cost.
        no_object_weight: of "no object" in cross-entropy.
    """

    class_cost: float = 2.0
    box_cost: float = 5.0
    giou_cost: float = 2.0
    alpha: float = ALPHA
    softmax: bool = False
    no_object_weight: float = 0.1


STANDARD = Rules()


@torch.no_grad()
def match(
    logits: Tensor,
    boxes: Tensor,
    objects: Objects,
    counts: Sequence[int],
    rules: Rules = STANDARD,
) -> Tensor:
    """Assign each object one prediction, at the least total cost.

    The host waits once, for the costs of all layers and images.

    Args:
        logits: (layers, B, D, classes), the last class being "no object" with softmax.
        boxes: (layers, B, D, 4), centre and size in 0..1.
        objects: of the B images, in M places.
        counts: number of objects of each image.
        rules: the weights of costs.

    Returns:
        The number of the prediction (layers, B, M) of each object; ``UNMATCHED`` at empty places,
        and for objects beyond D.
    """
    # A diverging network has costs that are not numbers; its loss will say so.
    costs = _costs(logits.float(), boxes.float(), objects, rules).nan_to_num(1e6).cpu().numpy()
    found = np.full((*costs.shape[:2], costs.shape[3]), UNMATCHED, dtype=np.int64)
    for layer, image in np.ndindex(found.shape[:2]):
        cost = costs[layer, image, :, : counts[image]]
        predictions, places = linear_sum_assignment(cost)
        found[layer, image, places] = predictions
    return _without_waiting(torch.from_numpy(found), boxes.device)


def _costs(logits: Tensor, boxes: Tensor, objects: Objects, rules: Rules) -> Tensor:
    """What it costs (layers, B, D, M) to assign each place to each prediction."""
    by_class = _class_costs(logits, rules)
    labels = objects.labels[None, :, None].expand(*by_class.shape[:3], -1)
    cost = rules.class_cost * by_class.gather(3, labels)
    predicted, expected = boxes[:, :, :, None], objects.boxes[None, :, None]
    cost += rules.box_cost * (predicted - expected).abs().sum(-1)
    return cost - rules.giou_cost * overlaps(predicted, expected)[1]


def _class_costs(logits: Tensor, rules: Rules) -> Tensor:
    """What assigning a class would cost each prediction, of the shape of ``logits``."""
    if rules.softmax:
        return -logits.softmax(-1)
    chance = logits.sigmoid()
    kept = -(1 - rules.alpha) * chance**GAMMA * (1 - chance + 1e-8).log()
    return -rules.alpha * (1 - chance) ** GAMMA * (chance + 1e-8).log() - kept


def _without_waiting(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on ``device``; from memory that is not pinned the copy would wait."""
    pinned = tensor.pin_memory() if device.type == "cuda" else tensor
    return pinned.to(device, non_blocking=True)
