"""The paper's DeiT students and checkpoints against golden numbers of its own release."""

import pickle

import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import orthogonal

from formula import GOLDEN, draw, fill, keys_of, orthonormal
from vkd import OrthogonalProjection, VkDLoss, create_model, load_checkpoint
from vkd.cli import main
from vkd.errors import UserError
from vkd.methods.kd import logit_loss
from vkd.models.checkpoints import read_projection
from vkd.models.release import householder_weight
from vkd.projection import orthogonality_error

MODELS = ("deit_ti_distilled", "deit_s_distilled", "deit_b_distilled")
TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}


def release_file(name, folder, projector=True):
    """A training checkpoint of the release's layout, filled by the formula."""
    keys = keys_of(name)
    state = {}
    for key, shape, dtype in keys:
        bare = key.removeprefix("module.")
        if "projector" not in bare:
            state[key] = fill(bare, shape, dtype)
        elif projector:
            state[key] = torch.eye(*shape) * (1 if bare.endswith("base") else -1)
    file = folder / f"{name}.pth"
    extra = {"optimizer": {"state": {}}, "scaler": {}, "epoch": 3, "loss": 0.5, "lr": 5e-4}
    torch.save({"student": state, "student_ema": None, **extra}, file)
    return file


@pytest.fixture(scope="module")
def tiny_file(tmp_path_factory):
    return release_file("deit_ti_distilled", tmp_path_factory.mktemp("release"))


@pytest.mark.parametrize("name", MODELS[:2])
def test_outputs_and_losses_equal_the_releases(name, tmp_path):
    golden = load_file(GOLDEN / f"{name}.safetensors")
    model = create_model(name, release_file(name, tmp_path, projector=False)).eval()
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


@pytest.mark.parametrize("layout", ["plain", "model", "module", "run"])
def test_other_layouts_load_too(layout, tmp_path):
    model = create_model("deit_ti_distilled", num_classes=3, img_size=32)
    state = model.state_dict()
    file = tmp_path / ("model.safetensors" if layout == "run" else "weights.pth")
    if layout == "run":
        from safetensors.torch import save_file

        save_file(state, file)
        file = tmp_path
    else:
        renamed = {f"module.{k}": v for k, v in state.items()} if layout == "module" else state
        torch.save({"model": renamed} if layout == "model" else renamed, file)
    other = create_model("deit_ti_distilled", num_classes=3, img_size=32)
    load_checkpoint(other, file)
    for key, value in other.state_dict().items():
        torch.testing.assert_close(value, state[key])


def test_a_projector_converts_to_the_matrix_torch_computes(tmp_path):
    torch.manual_seed(0)
    theirs = orthogonal(nn.Linear(16, 40, bias=False))
    original = theirs.parametrizations.weight.original
    with torch.no_grad():
        original += 0.1 * torch.randn_like(original).tril(-1)
        original[range(16), range(16)] = torch.where(torch.rand(16) < 0.5, -1.0, 1.0)
    keys = {f"module.projector.{key}": value for key, value in theirs.state_dict().items()}
    torch.save({"student": {**keys, "module.norm.weight": torch.ones(1)}}, tmp_path / "p.pth")
    weight = read_projection(tmp_path / "p.pth")
    torch.testing.assert_close(weight, theirs.weight.detach(), atol=1e-5, rtol=1e-5)
    projection = OrthogonalProjection(16, 40)
    projection.load_weight(weight)
    torch.testing.assert_close(projection.weight, weight, atol=1e-5, rtol=1e-5)


def test_a_projector_that_weight_decay_killed_in_torch_is_read_by_its_sign():
    torch.manual_seed(0)
    theirs = orthogonal(nn.Linear(8, 20, bias=False))
    before = theirs.weight.detach().clone()
    original = theirs.parametrizations.weight.original
    with torch.no_grad():
        original.mul_(1 - 5e-4 * 0.05)
    assert theirs.weight.norm() < 1e-3
    weight = householder_weight(original.detach(), theirs.parametrizations.weight[0].base)
    torch.testing.assert_close(weight, before, atol=1e-5, rtol=1e-5)


def test_missing_and_unexpected_keys_are_listed(tmp_path):
    model = create_model("deit_ti_distilled", img_size=32, num_classes=2)
    state = model.state_dict()
    del state["norm.bias"]
    state["extra.weight"] = torch.ones(2)
    torch.save({"student": state}, tmp_path / "c.pth")
    with pytest.raises(UserError, match=r"missing: norm\.bias; unexpected: extra\.weight"):
        load_checkpoint(model, tmp_path / "c.pth")


class Payload:
    """Unpickling this makes a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        import os

        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("writer", ["torch", "legacy", "pickle"])
def test_code_in_a_pickle_is_refused_and_does_not_run(writer, tmp_path, capsys):
    file, trace = tmp_path / "evil.pth", tmp_path / "ran"
    saved = {"student": {"w": torch.ones(1)}, "args": Payload(trace)}
    if writer == "pickle":
        file.write_bytes(pickle.dumps(saved))
    else:
        torch.save(saved, file, _use_new_zipfile_serialization=writer == "torch")
    assert main(["convert", str(file), str(tmp_path / "out.safetensors")]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "evil.pth" in message
    assert not trace.exists()
    with pytest.raises(UserError):
        create_model("deit_ti_distilled", file)
    assert not trace.exists()


@pytest.mark.parametrize(
    "content", [b"", b"hello, I am no checkpoint", b"PK\x03\x04 broken", b"\x80\x02."]
)
def test_what_is_no_checkpoint_is_refused_in_one_sentence(content, tmp_path, capsys):
    file = tmp_path / "thing.pth"
    file.write_bytes(content)
    assert main(["convert", str(file), str(tmp_path / "out.safetensors")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


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
