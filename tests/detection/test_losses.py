"""Losses of detectors at their limits."""

import torch

from vkd import create_model
from vkd.detection.losses import detection_losses, token_label_loss


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
