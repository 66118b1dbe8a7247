"""Losses of detectors against torchvision's functions image by image, and at their limits."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from torch.nn import functional as F
from torchvision.ops import (
    box_convert,
    box_iou,
    generalized_box_iou,
    generalized_box_iou_loss,
    sigmoid_focal_loss,
)

from support.release import losses_of
from vkd import create_model
from vkd.detection.losses import (
    Predictions,
    class_error,
    detection_losses,
    predictions_of,
    token_label_loss,
)
from vkd.detection.matching import UNMATCHED, Rules, match
from vkd.detection.objects import objects_of
from vkd.detection.overlap import overlaps

LAYERS, PREDICTIONS, CLASSES = 2, 7, 5


def drawn(counts, ious=True):
    """Predictions for images with so many objects, and these."""
    batch = len(counts)
    boxes = torch.rand(LAYERS, batch, PREDICTIONS, 4) * 0.5 + 0.1
    found = Predictions(
        torch.randn(LAYERS, batch, PREDICTIONS, CLASSES),
        boxes,
        torch.randn(LAYERS, batch, PREDICTIONS, 1) if ious else None,
    )
    targets = [
        {"labels": torch.randint(CLASSES - 1, (k,)), "boxes": torch.rand(k, 4) * 0.5 + 0.1}
        for k in counts
    ]
    return found, targets


def corners(boxes):
    return box_convert(boxes, "cxcywh", "xyxy")


def pairs_of(logits, boxes, target, rules):
    """The predictions and objects of one image that belong together, by scipy."""
    chance = logits.softmax(-1) if rules.softmax else logits.sigmoid()
    by_class = -chance
    if not rules.softmax:
        pull = rules.alpha * (1 - chance) ** 2 * -(chance + 1e-8).log()
        push = (1 - rules.alpha) * chance**2 * -(1 - chance + 1e-8).log()
        by_class = pull - push
    cost = rules.class_cost * by_class[:, target["labels"]]
    cost = cost + rules.box_cost * torch.cdist(boxes, target["boxes"], p=1)
    overlap = generalized_box_iou(corners(boxes), corners(target["boxes"]))
    return map(torch.as_tensor, linear_sum_assignment(cost - rules.giou_cost * overlap))


def reference(found, targets, layer, rules):
    """The losses of a layer, image by image and object by object."""
    count = max(sum(len(target["labels"]) for target in targets), 1)
    sums = dict.fromkeys(("box", "giou", "iou"), 0.0)
    expected = torch.full(found.logits.shape[1:3], CLASSES - 1)
    one_hot = torch.zeros_like(found.logits[0])
    for image, target in enumerate(targets):
        logits, boxes = found.logits[layer, image], found.boxes[layer, image]
        predictions, places = pairs_of(logits, boxes, target, rules)
        ours, theirs = boxes[predictions], target["boxes"][places]
        sums["box"] += F.l1_loss(ours, theirs, reduction="sum")
        sums["giou"] += generalized_box_iou_loss(
            corners(ours), corners(theirs), reduction="sum", eps=0
        )
        shared = box_iou(corners(ours), corners(theirs)).diagonal()
        guessed = found.ious[layer, image, predictions, 0]
        sums["iou"] += F.binary_cross_entropy_with_logits(guessed, shared, reduction="sum")
        expected[image, predictions] = target["labels"][places]
        one_hot[image, predictions, target["labels"][places]] = 1.0
    losses = {name: total / count for name, total in sums.items()}
    if rules.softmax:
        weights = torch.ones(CLASSES)
        weights[-1] = rules.no_object_weight
        return losses | {
            "class": F.cross_entropy(found.logits[layer].transpose(1, 2), expected, weights)
        }
    focal = sigmoid_focal_loss(found.logits[layer], one_hot, rules.alpha, 2.0, "sum")
    return losses | {"class": focal / count}


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=4),
    st.booleans(),
    st.integers(0, 2**31),
)
def test_losses_equal_those_of_images_one_by_one(counts, softmax, seed):
    torch.manual_seed(seed)
    found, targets = drawn(counts)
    rules = Rules(softmax=softmax, alpha=0.3, no_object_weight=0.2)
    objects = objects_of(targets)
    matches = match(found.logits, found.boxes, objects, counts, rules)
    count = torch.tensor(float(max(sum(counts), 1)))
    losses = detection_losses(found, objects, matches, count, rules)
    for layer in range(LAYERS):
        expected = reference(found, targets, layer, rules)
        assert losses.keys() == expected.keys()
        for name, value in expected.items():
            ours = losses[name][layer]
            torch.testing.assert_close(ours, torch.as_tensor(value), rtol=1e-4, atol=1e-5)


def test_more_objects_than_predictions_match_as_many_as_there_are():
    torch.manual_seed(0)
    found, targets = drawn([30, 2])
    objects = objects_of(targets)
    matches = match(found.logits, found.boxes, objects, [30, 2])
    assert matches.shape == (LAYERS, 2, 32)
    assert (matches != UNMATCHED).sum(-1).tolist() == [[PREDICTIONS, 2]] * LAYERS
    for layer in matches[:, 0]:
        assert sorted(layer[layer != UNMATCHED].tolist()) == list(range(PREDICTIONS))


def test_overlaps_equal_torchvisions():
    torch.manual_seed(0)
    first, second = torch.rand(9, 4) * 0.5, torch.rand(6, 4) * 0.5
    shared, generalised = overlaps(first[:, None], second[None])
    torch.testing.assert_close(shared, box_iou(corners(first), corners(second)))
    torch.testing.assert_close(generalised, generalized_box_iou(corners(first), corners(second)))


def test_boxes_without_area_have_finite_overlaps_and_gradients():
    boxes = torch.zeros(2, 4, requires_grad=True)
    shared, generalised = overlaps(boxes, torch.zeros(2, 4))
    (shared + generalised).sum().backward()
    assert shared.tolist() == [0, 0]
    assert boxes.grad.isfinite().all()


def test_losses_of_images_without_objects_are_finite():
    torch.manual_seed(0)
    model = create_model("vidt_digits", iou_aware=True, token_label=True).train()
    outputs = model(torch.randn(2, 3, 64, 64))
    targets = [{"labels": torch.zeros(0).long(), "boxes": torch.zeros(0, 4),
                "masks": torch.zeros(0, 64, 64)}] * 2  # fmt: skip
    losses = losses_of(outputs, targets)
    assert losses["box"].eq(0).all()
    every = [*losses.values(), token_label_loss(outputs, targets)[None]]
    torch.cat(every).sum().backward()
    assert all(loss.isfinite().all() for loss in every)
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_class_error_is_the_share_of_matched_objects_of_another_class():
    logits = torch.full((1, 2, 3, 4), -1.0)
    logits[0, 0, 2, 1] = logits[0, 0, 0, 3] = logits[0, 1, 1, 2] = 1.0
    found = Predictions(logits, torch.zeros(1, 2, 3, 4), None)
    targets = [
        {"labels": torch.tensor([3, 0]), "boxes": torch.zeros(2, 4)},
        {"labels": torch.tensor([2]), "boxes": torch.zeros(1, 4)},
    ]
    matches = torch.full((1, 2, 16), UNMATCHED)
    matches[0, 0, :2], matches[0, 1, 0] = torch.tensor([0, 2]), 1
    assert class_error(found, objects_of(targets), matches).item() == pytest.approx(100 / 3)
    nothing = torch.full_like(matches, UNMATCHED)
    assert class_error(found, objects_of(targets), nothing) == 100


def test_predictions_of_a_detector_are_those_of_all_layers():
    model = create_model("vidt_digits").train()
    outputs = model(torch.randn(1, 3, 64, 64))
    found = predictions_of(outputs)
    assert found.logits.shape[0] == len(outputs["aux_outputs"]) + 1
    assert found.logits[-1].equal(outputs["pred_logits"])
    assert found.boxes[0].equal(outputs["aux_outputs"][0]["pred_boxes"])
    assert found.ious is None
