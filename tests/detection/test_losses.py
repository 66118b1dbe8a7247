"""Losses of detectors at their limits."""

import pytest
import torch

from vkd import create_model
from vkd.detection.losses import class_error, detection_losses, token_label_loss


def test_losses_of_images_without_objects_are_finite():
    torch.manual_seed(0)
    model = create_model("vidt_digits", iou_aware=True, token_label=True).train()
    outputs = model(torch.randn(2, 3, 64, 64))
    targets = [{"labels": torch.zeros(0).long(), "boxes": torch.zeros(0, 4),
                "masks": torch.zeros(0, 64, 64)}] * 2  # fmt: skip
    layers = detection_losses(outputs, targets)
    losses = [loss for layer in layers for loss in layer.values()]
    losses.append(token_label_loss(outputs, targets))
    torch.stack(losses).sum().backward()
    assert all(loss.isfinite() for loss in losses)
    assert all(layer["box"] == 0 for layer in layers)
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_class_error_is_the_share_of_matched_objects_of_another_class():
    logits = torch.full((2, 3, 4), -1.0)
    logits[0, 2, 1] = logits[0, 0, 3] = logits[1, 1, 2] = 1.0
    targets = [{"labels": torch.tensor([3, 0])}, {"labels": torch.tensor([2])}]
    pairs = [(torch.tensor([0, 2]), torch.tensor([0, 1])), (torch.tensor([1]), torch.tensor([0]))]
    assert class_error({"pred_logits": logits}, targets, pairs).item() == pytest.approx(100 / 3)
    empty = [(torch.zeros(0).long(), torch.zeros(0).long())] * 2
    assert class_error({"pred_logits": logits}, [{"labels": torch.zeros(0)}] * 2, empty) == 100
