"""Which prediction is matched to which object (DETR, Carion et al. 2020, section 3.1)."""

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torchvision.ops import box_convert, generalized_box_iou

Targets = list[dict[str, Tensor]]
Match = tuple[Tensor, Tensor]
ALPHA, GAMMA = 0.25, 2.0


@torch.no_grad()
def match(
    logits: Tensor,
    boxes: Tensor,
    targets: Targets,
    class_cost: float = 2.0,
    box_cost: float = 5.0,
    giou_cost: float = 2.0,
    softmax: bool = False,
) -> list[list[Match]]:
    """Assign each object one prediction, at the least total cost.

    Args:
        logits: (layers, B, D, classes) of independent sigmoids, or (layers, B, D, classes + 1).
        boxes: (layers, B, D, 4), centre and size in 0..1.
        targets: ``labels`` (K,) and ``boxes`` (K, 4) of each image.
        class_cost, box_cost, giou_cost: weights of focal, L1 and generalised-IoU cost.
        softmax: whether classes exclude each other, the last being "no object"; the class cost is
            then the probability's negative.

    Returns:
        For each layer and image, indices of predictions (rising) and of their objects.
    """
    costs = []
    for image, target in enumerate(targets):
        by_class = _class_costs(logits[:, image].float(), softmax)
        cost = class_cost * by_class[..., target["labels"]]
        predicted = boxes[:, image].float()
        cost += box_cost * torch.cdist(predicted, target["boxes"].expand(len(boxes), -1, -1), p=1)
        overlap = generalized_box_iou(
            box_convert(predicted.flatten(0, 1), "cxcywh", "xyxy"),
            box_convert(target["boxes"], "cxcywh", "xyxy"),
        )
        costs.append((cost - giou_cost * overlap.view_as(cost)).flatten())
    # One transfer for all: reading each by itself would stall a GPU once per image and layer.
    parts = torch.cat(costs).cpu().split([len(cost) for cost in costs])
    shaped = [part.view(boxes.shape[0], boxes.shape[2], -1) for part in parts]
    return [[_assign(cost[layer]) for cost in shaped] for layer in range(len(boxes))]


def _class_costs(logits: Tensor, softmax: bool) -> Tensor:
    """What assigning a class would cost each prediction, of the shape of ``logits``."""
    if softmax:
        return -logits.softmax(-1)
    chance = logits.sigmoid()
    kept = -(1 - ALPHA) * chance**GAMMA * (1 - chance + 1e-8).log()
    return -ALPHA * (1 - chance) ** GAMMA * (chance + 1e-8).log() - kept


def _assign(cost: Tensor) -> Match:
    # A diverging network has costs that are not numbers; its loss will say so.
    predictions, objects = linear_sum_assignment(cost.nan_to_num(1e6).numpy())
    return torch.as_tensor(predictions), torch.as_tensor(objects)
