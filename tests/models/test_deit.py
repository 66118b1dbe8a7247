"""The paper's DeiT students and checkpoints against golden numbers of its own release."""

import pytest
import timm
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from support.formula import GOLDEN, draw, keys_of, orthonormal
from support.release import deit_file
from vkd import VkDLoss, create_model
from vkd.cli import main
from vkd.methods.kd import logit_loss
from vkd.projection import orthogonality_error

MODELS = ("deit_ti_distilled", "deit_s_distilled", "deit_b_distilled")


TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}


@pytest.fixture(scope="module")
def tiny_file(tmp_path_factory):
    return deit_file("deit_ti_distilled", tmp_path_factory.mktemp("release"))


@pytest.mark.parametrize("name", MODELS[:2])
def test_outputs_and_losses_equal_the_releases(name, tmp_path):
    golden = load_file(GOLDEN / f"{name}.safetensors")
    model = create_model(name, deit_file(name, tmp_path, projector=False)).eval()
    images = draw("input", (2, 3, 224, 224))
    with torch.no_grad():
        tokens = model.forward_features(images)
        torch.testing.assert_close(tokens[:, 0], golden["features.cls"], **TOLERANCE)
        torch.testing.assert_close(tokens[:, 1], golden["features.dist"], **TOLERANCE)
        patches = tokens[:, 2:]
        if "features.patch" in golden:
            torch.testing.assert_close(patches, golden["features.patch"], **TOLERANCE)
        else:
            torch.testing.assert_close(patches.mean(1), golden["features.patch_mean"], **TOLERANCE)
        torch.testing.assert_close(model(images), golden["logits.eval"], **TOLERANCE)
        class_logits = model.head(tokens[:, 0])
        distillation_logits = model.head_dist(tokens[:, 1])
        torch.testing.assert_close(class_logits, golden["logits.cls"], **TOLERANCE)
        torch.testing.assert_close(distillation_logits, golden["logits.dist"], **TOLERANCE)
        loss = VkDLoss(model.embed_dim, 3024)
        weight = orthonormal("projection", 3024, model.embed_dim)
        loss.projection.load_weight(weight)
        pooled = patches.mean(1)
        torch.testing.assert_close(loss.projection(pooled), golden["projected"], **TOLERANCE)
        teacher = draw("teacher.map", (2, 3024, 7, 7)).mean((2, 3))
        torch.testing.assert_close(
            loss(pooled, teacher), golden["loss.representation"], **TOLERANCE
        )
        divergence = logit_loss(distillation_logits, draw("teacher.logits", (2, 1000)))
        torch.testing.assert_close(divergence, golden["loss.kl"], **TOLERANCE)
        entropy = F.cross_entropy(class_logits, draw("targets", (2, 1000)).softmax(1))
        torch.testing.assert_close(entropy, golden["loss.cross_entropy"], **TOLERANCE)


@pytest.mark.parametrize("name", MODELS)
def test_keys_and_shapes_are_the_releases(name):
    model = timm.create_model(name)
    ours = {key: list(value.shape) for key, value in model.state_dict().items()}
    keys = keys_of(name)
    theirs = {
        key.removeprefix("module.").replace("conv_embed.", "patch_embed."): shape
        for key, shape, _ in keys
        if "projector" not in key
    }
    assert ours == theirs


def test_convert_then_create_is_the_whole_path(tiny_file, tmp_path, capsys):
    target = tmp_path / "OUT.safetensors"
    assert main(["convert", str(tiny_file), str(target)]) == 0
    model = create_model("deit_ti_distilled", checkpoint=target).eval()
    golden = load_file(GOLDEN / "deit_ti_distilled.safetensors")
    with torch.no_grad():
        found = model(draw("input", (2, 3, 224, 224)))
    torch.testing.assert_close(found, golden["logits.eval"], **TOLERANCE)
    weight = load_file(tmp_path / "OUT-projection.safetensors")["weight"]
    assert orthogonality_error(weight) < 1e-5
    torch.testing.assert_close(weight, torch.eye(3024, 192))
    assert main(["convert", str(tiny_file), str(target)]) == 2
    assert "exists already" in capsys.readouterr().err


def test_convert_lists_missing_keys_too(tiny_file, tmp_path, capsys):
    saved = torch.load(tiny_file, weights_only=True)
    for key in ("pos_embed", "conv_embed.conv.6.weight"):
        del saved["student"][f"module.{key}"]
    torch.save(saved, tmp_path / "c.pth")
    assert main(["convert", str(tmp_path / "c.pth"), str(tmp_path / "o.safetensors")]) == 2
    assert "missing: pos_embed, patch_embed.conv.6.weight." in capsys.readouterr().err
    assert not (tmp_path / "o.safetensors").exists()


def test_the_heads_part_in_distilled_training_only():
    model = create_model("deit_ti_distilled", img_size=32, num_classes=5)
    images = torch.randn(4, 3, 32, 32)
    assert model.train()(images).shape == (4, 5)
    model.set_distilled_training(True)
    assert [logits.shape for logits in model(images)] == [(4, 5), (4, 5)]
    model.eval()
    with torch.no_grad():
        tokens = model.forward_features(images)
        mean = (model.head(tokens[:, 0]) + model.head_dist(tokens[:, 1])) / 2
        torch.testing.assert_close(model(images), mean)
    with pytest.raises(ValueError, match="images of"):
        model(torch.randn(1, 3, 64, 64))
