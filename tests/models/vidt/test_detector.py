"""The detector's options and padding."""

import pytest
import torch

from vkd import create_model
from vkd.errors import UserError


def test_padding_an_image_does_not_move_its_boxes():
    torch.manual_seed(0)
    model = create_model("vidt_digits").eval()
    small, large = torch.randn(3, 64, 64), torch.randn(3, 128, 128)
    with torch.no_grad():
        first = model([small, large])
        batch = torch.zeros(2, 3, 128, 128)
        batch[0, :, :64, :64], batch[1] = small, large
        mask = torch.zeros(2, 128, 128, dtype=torch.bool)
        mask[0, 64:], mask[0, :, 64:] = True, True
        second = model(batch, mask)
    torch.testing.assert_close(first["pred_boxes"], second["pred_boxes"])
    assert first["pred_boxes"].min() >= 0
    assert first["pred_boxes"].max() <= 1


@pytest.mark.parametrize(
    "options",
    [
        {"architecture": "vidt_wo_neck"},
        {"fusion": True, "iou_aware": True, "token_label": True},
        {"box_refinement": False},
    ],
)
def test_options_shape_what_a_detector_returns(options, tmp_path):
    model = create_model("vidt_digits", **options).train()
    images = torch.randn(2, 3, 64, 96)
    found = model(images)
    assert found["pred_logits"].shape == (2, 20, 10 + model.softmax)
    assert found["pred_boxes"].shape == (2, 20, 4)
    if "iou_aware" in options:
        assert found["pred_ious"].shape == (2, 20, 1)
        assert found["patch_logits"].shape[-1] == 10
    loss = found["pred_logits"].sum() + found["pred_boxes"].sum()
    loss.backward()
    assert model.backbone.det_token.grad.abs().sum() > 0


def test_an_unknown_architecture_is_refused():
    with pytest.raises(UserError, match="vidt_wo_neck"):
        create_model("vidt_nano", architecture="deformable_detr")
