"""Detectors that start from Swin's weights."""

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from vkd import create_model
from vkd.detection.backbone_weights import load_backbone
from vkd.errors import UserError
from vkd.models.vidt.variants import BACKBONES


def swin_file(folder, name="swin_tiny_patch4_window7_224"):
    torch.manual_seed(3)
    state = timm.create_model(name, num_classes=0).state_dict()
    save_file(
        {key: value.contiguous() for key, value in state.items()}, folder / "swin.safetensors"
    )
    return folder / "swin.safetensors"


def test_a_detector_starts_from_swins_weights(tmp_path):
    file = swin_file(tmp_path)
    model = create_model("vidt_tiny")
    load_backbone(model, "vidt_tiny", str(file))
    swin = load_file(file)
    body = model.backbone.state_dict()
    assert body["layers.1.blocks.1.attn.qkv.weight"].equal(
        swin["layers.1.blocks.1.attn.qkv.weight"]
    )
    reduction = swin["layers.1.downsample.reduction.weight"]
    assert body["layers.0.downsample.reduction.weight"].equal(reduction)
    with pytest.raises(UserError, match="does not fit vidt_nano"):
        load_backbone(create_model("vidt_nano"), "vidt_nano", str(file))
    with pytest.raises(UserError, match="timm publishes no backbone of vidt_nano's size"):
        load_backbone(create_model("vidt_nano"), "vidt_nano", "hub")
    for name, published in BACKBONES.items():
        assert timm.is_model_pretrained(published), name
