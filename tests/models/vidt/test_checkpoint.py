"""Checkpoints of ViDT's release, and Swin's weights for its body."""

import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils.parametrizations import orthogonal

from support.formula import keys_of
from support.release import vidt_file
from vkd import create_model
from vkd.cli import main
from vkd.errors import UserError
from vkd.models.vidt.checkpoint import ADAPTER, body_weights

MODELS = ("vidt_nano", "vidt_tiny", "vidt_small", "vidt_base")


@pytest.mark.parametrize("name", MODELS)
def test_keys_and_shapes_are_the_releases(name):
    ours = {k: list(v.shape) for k, v in create_model(name).state_dict().items()}
    release = {key: torch.empty(shape, device="meta") for key, shape, _ in keys_of(name)}
    theirs = {k: list(v.shape) for k, v in ADAPTER.split(release)[0].items()}
    assert ours == theirs


def test_a_distilled_student_converts_with_its_projections(tmp_path, capsys):
    file, target = (
        vidt_file("vidt_nano", tmp_path, "vidt_nano_distilled"),
        tmp_path / "nano.safetensors",
    )
    assert main(["convert", str(file), str(target)]) == 0
    model = create_model("vidt_nano", target)
    plain = create_model("vidt_nano", vidt_file("vidt_nano", tmp_path))
    for key, value in plain.state_dict().items():
        assert value.equal(model.state_dict()[key]), key
    projections = load_file(tmp_path / "nano-projection.safetensors")
    names = [*(f"patch_{scale}" for scale in range(4)), "body", "neck"]
    assert {key.split(".")[0] for key in projections} == set(names)
    saved = torch.load(file, weights_only=False)["model"]
    for name in names:
        theirs = f"patch_projector_{int(name[-1]) + 1}" if "_" in name else f"{name}_det_projector"
        layer = orthogonal(nn.Linear(256, 256, bias=False))
        prefix = f"{theirs}.projector."
        layer.load_state_dict({k.removeprefix(prefix): v for k, v in saved.items() if prefix in k})
        torch.testing.assert_close(
            projections[f"{name}.projection"], layer.weight.detach(), atol=1e-4, rtol=1e-4
        )
        assert projections[f"{name}.weight"].equal(saved[f"{theirs}.weight"])


def test_missing_keys_of_a_detector_are_listed(tmp_path):
    saved = torch.load(vidt_file("vidt_nano", tmp_path), weights_only=False)
    for key in ("class_embed.0.weight", "backbone.det_pos_embed"):
        del saved["model"][key]
    torch.save({"model": saved["model"]}, tmp_path / "c.pth")
    with pytest.raises(UserError, match=r"missing: backbone\.det_pos_embed, class_embed\.0"):
        create_model("vidt_nano", tmp_path / "c.pth")


@pytest.mark.parametrize("layout", ["timm", "swin"])
def test_a_body_computes_what_timms_swin_computes(layout):
    torch.manual_seed(0)
    # At twice the size, as timm does not shift the windows of a map that one window covers.
    swin = timm.create_model("swin_tiny_patch4_window7_224", num_classes=0, img_size=448).eval()
    state = swin.state_dict()
    if layout == "swin":
        moved = {}
        for key, value in state.items():
            if ".downsample." in key:
                _, stage, rest = key.split(".", 2)
                key = f"layers.{int(stage) - 1}.{rest}"
            moved[key] = value
        state = moved | {"layers.0.blocks.1.attn_mask": torch.zeros(64, 49, 49)}
    body = create_model("vidt_tiny").backbone.eval()
    body.load_state_dict(body_weights(state), strict=False)
    images = torch.randn(1, 3, 448, 448)
    with torch.no_grad():
        maps = body(images, torch.zeros(1, 448, 448, dtype=torch.bool)).maps
        expected, stages = swin.patch_embed(images), []
        for layer in swin.layers:
            expected = layer(expected)
            stages.append(expected.permute(0, 3, 1, 2))
    for ours, theirs in zip(maps, stages[1:], strict=False):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
