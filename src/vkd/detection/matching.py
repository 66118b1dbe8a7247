"""Which prediction is matched to which object (DETR, Carion et al. 2020, section 3.1)."""

from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torchvision.ops import box_convert, generalized_box_iou

Targets = list[dict[str, Tensor]]
Match = tuple[Tensor, Tensor]
ALPHA, GAMMA = 0.25, 2.0


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
    logits: Tensor, boxes: Tensor, targets: Targets, rules: Rules = STANDARD
) -> list[list[Match]]:
    """Assign each object one prediction, at the least total cost.

    Args:
        logits: (layers, B, D, classes), the last class being "no object" with softmax.
        boxes: (layers, B, D, 4), centre and size in 0..1.
        targets: ``labels`` (K,) and ``boxes`` (K, 4) of each image.
        rules: the weights of costs.

    Returns:
        For each layer and image, indices of predictions (rising) and of their objects.
    """
    costs = []
    for image, target in enumerate(targets):
        by_class = _class_costs(logits[:, image].float(), rules)
        cost = rules.class_cost * by_class[..., target["labels"]]
        predicted = boxes[:, image].float()
        cost += rules.box_cost * torch.cdist(
            predicted, target["boxes"].expand(len(boxes), -1, -1), p=1
        )
        overlap = generalized_box_iou(
            box_convert(predicted.flatten(0, 1), "cxcywh", "xyxy"),
            box_convert(target["boxes"], "cxcywh", "xyxy"),
        )
        costs.append((cost - rules.giou_cost * overlap.view_as(cost)).flatten())
    # One transfer for all: reading each by itself would stall a GPU once per image and layer.
    parts = torch.cat(costs).cpu().split([len(cost) for cost in costs])
    shaped = [part.view(boxes.shape[0], boxes.shape[2], -1) for part in parts]
    return [[_assign(cost[layer]) for cost in shaped] for layer in range(len(boxes))]


def _class_costs(logits: Tensor, rules: Rules) -> Tensor:
    """What assigning a class would cost each prediction, of the shape of ``logits``."""
    if rules.softmax:
        return -logits.softmax(-1)
    chance = logits.sigmoid()
    kept = -(1 - rules.alpha) * chance**GAMMA * (1 - chance + 1e-8).log()
    return -rules.alpha * (1 - chance) ** GAMMA * (chance + 1e-8).log() - kept


def _assign(cost: Tensor) -> Match:
    # A diverging network has costs that are not numbers; its loss will say so.
    predictions, objects = linear_sum_assignment(cost.nan_to_num(1e6).numpy())
    return torch.as_tensor(predictions), torch.as_tensor(objects)
