"""ViDT's detectors and checkpoints against golden numbers of the paper's release."""

import argparse

import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils.parametrizations import orthogonal

from formula import GOLDEN, draw, fill, keys_of, orthonormal
from vkd import create_model
from vkd.cli import main
from vkd.detection.losses import detection_losses
from vkd.detection.matching import match
from vkd.detection.postprocess import best_detections
from vkd.detection.tokens import TokenLoss, TokenTeacher
from vkd.errors import UserError
from vkd.models.vidt.checkpoint import body_weights
from vkd.models.vidt.deformable_attention import DeformableAttention, sample_levels
from vkd.projection import OrthogonalProjection

TOLERANCE = {"rtol": 1e-3, "atol": 1e-3}
SIZES = {"vidt_nano": ((256, 320), (224, 288)), "vidt_tiny": ((192, 256), (256, 224))}
MODELS = ("vidt_nano", "vidt_tiny", "vidt_small", "vidt_base")


def release_file(name, folder, keys=""):
    """A training checkpoint of the release's layout, filled by the formula."""
    state = {key: fill(key, shape, dtype) for key, shape, dtype in keys_of(keys or name)}
    file = folder / f"{keys or name}.pth"
    args = argparse.Namespace(method="vidt", backbone_name="swin_nano", lr=1e-4)
    extra = {"optimizer": {"state": {}}, "lr_scheduler": {}, "epoch": 49}
    torch.save({"model": state, "args": args, **extra}, file)
    return file


def targets_of(count):
    """The targets of the golden losses."""
    targets = []
    for image in range(count):
        generator = torch.Generator().manual_seed(_seed(f"targets.{image}"))
        objects = (3, 1, 2)[image % 3]
        centres = torch.rand(objects, 2, generator=generator) * 0.4 + 0.3
        sizes = torch.rand(objects, 2, generator=generator) * 0.3 + 0.1
        labels = torch.randint(1, 91, (objects,), generator=generator)
        targets.append({"labels": labels, "boxes": torch.cat([centres, sizes], 1)})
    return targets


def _seed(name):
    import zlib

    return zlib.crc32(name.encode())


@pytest.fixture(scope="module", params=SIZES)
def golden(request, tmp_path_factory):
    """The name, the golden numbers, the model and what it says."""
    name = request.param
    model = create_model(name, release_file(name, tmp_path_factory.mktemp(name))).eval()
    images = [draw(f"input.{i}", (3, *size)) for i, size in enumerate(SIZES[name])]
    with torch.no_grad():
        outputs = model(images, with_tokens=True)
    return name, load_file(GOLDEN / f"{name}.safetensors"), model, outputs


def test_boxes_and_logits_equal_the_releases(golden):
    _, expected, _, found = golden
    torch.testing.assert_close(found["pred_logits"], expected["pred_logits"], **TOLERANCE)
    torch.testing.assert_close(found["pred_boxes"], expected["pred_boxes"], **TOLERANCE)
    assert len(found["aux_outputs"]) == 6
    for index, layer in enumerate(found["aux_outputs"]):
        logits, boxes = expected[f"aux.{index}.pred_logits"], expected[f"aux.{index}.pred_boxes"]
        torch.testing.assert_close(layer["pred_logits"][:, :10], logits, **TOLERANCE)
        torch.testing.assert_close(layer["pred_boxes"], boxes, **TOLERANCE)


def test_tokens_equal_the_releases(golden):
    _, expected, _, found = golden
    tokens = found["tokens"]
    for scale, map_ in enumerate(tokens.patches):
        mean, deviation = map_.mean((2, 3)), map_.std((2, 3))
        torch.testing.assert_close(mean, expected[f"patch_token.{scale}.mean"], **TOLERANCE)
        torch.testing.assert_close(deviation, expected[f"patch_token.{scale}.std"], **TOLERANCE)
    torch.testing.assert_close(tokens.body[:, :10], expected["body_det_token"], **TOLERANCE)
    last = tokens.neck[-1][:, :10]
    torch.testing.assert_close(last, expected["neck_det_token.last"], **TOLERANCE)


def test_post_processing_equals_the_releases(golden):
    name, expected, _, found = golden
    sizes = torch.tensor([[2 * height, 2 * width] for height, width in SIZES[name]])
    for image, best in enumerate(best_detections(found, sizes)):
        torch.testing.assert_close(best["scores"], expected[f"post.{image}.scores"], **TOLERANCE)
        assert best["labels"].equal(expected[f"post.{image}.labels"])
        boxes = expected[f"post.{image}.boxes"]
        torch.testing.assert_close(best["boxes"], boxes, rtol=1e-3, atol=0.1)


def test_matching_equals_the_releases(golden):
    _, expected, _, found = golden
    (matches,) = match(found["pred_logits"][None], found["pred_boxes"][None], targets_of(2))
    for image, (predictions, objects) in enumerate(matches):
        assert predictions.equal(expected[f"matcher.{image}.prediction"])
        assert objects.equal(expected[f"matcher.{image}.target"])


def test_every_loss_term_equals_the_releases(golden):
    _, expected, _, found = golden
    losses = detection_losses(found, targets_of(2))
    theirs = {"ce": "class", "bbox": "box", "giou": "giou"}
    names = [key for key in expected if key.startswith("loss.loss_")]
    assert len(names) == 21
    for name in names:
        kind, _, suffix = name.removeprefix("loss.loss_").partition("_")
        ours = losses[theirs[kind] + (f"_{suffix}" if suffix else "")]
        torch.testing.assert_close(ours, expected[name], **TOLERANCE)


def test_token_distillation_equals_the_releases(golden, tmp_path):
    name, expected, _, found = golden
    if name != "vidt_nano":
        pytest.skip("the release's number is of nano taught by tiny")
    images = [draw(f"input.{i}", (3, *size)) for i, size in enumerate(SIZES[name])]
    from vkd.models.vidt.detector import pad_images

    teacher = TokenTeacher(create_model("vidt_tiny", release_file("vidt_tiny", tmp_path)))
    loss = TokenLoss(OrthogonalProjection)
    for part, module in loss.losses.items():
        matrix = orthonormal(f"projection.{part.replace('_', '.')}", 256, 256)
        module.projection.projection.load_weight(matrix)
    with torch.no_grad():
        value = loss(found["tokens"], teacher(*pad_images(images)))
    torch.testing.assert_close(value, expected["loss.distil.vidt_tiny"], **TOLERANCE)


@pytest.mark.parametrize("name", MODELS)
def test_keys_and_shapes_are_the_releases(name):
    ours = {k: list(v.shape) for k, v in create_model(name).state_dict().items()}
    release = {key: torch.empty(shape, device="meta") for key, shape, _ in keys_of(name)}
    theirs = {k: list(v.shape) for k, v in split_projections(release)[0].items()}
    assert ours == theirs


def test_a_distilled_student_converts_with_its_projections(tmp_path, capsys):
    file, target = (
        release_file("vidt_nano", tmp_path, "vidt_nano_distilled"),
        tmp_path / "nano.safetensors",
    )
    assert main(["convert", str(file), str(target)]) == 0
    model = create_model("vidt_nano", target)
    plain = create_model("vidt_nano", release_file("vidt_nano", tmp_path))
    for key, value in plain.state_dict().items():
        assert value.equal(model.state_dict()[key]), key
    projections = load_file(tmp_path / "nano-projection.safetensors")
    names = [*(f"patch_{scale}" for scale in range(4)), "body", "neck"]
    assert {key.split(".")[0] for key in projections} == set(names)
    saved = read_weights(file)
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
    saved = torch.load(release_file("vidt_nano", tmp_path), weights_only=False)
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


def sampled_by_hand(value, shapes, locations, weights):
    """Equation 3 of Deformable DETR, one number at a time."""
    batch, _, heads, channels = value.shape
    queries, levels, points = locations.shape[1], len(shapes), locations.shape[4]
    out = torch.zeros(batch, queries, heads, channels, dtype=value.dtype)
    starts = [sum(h * w for h, w in shapes[:level]) for level in range(levels)]
    for b, q, m, level, p in torch.cartesian_prod(
        *map(torch.arange, (batch, queries, heads, levels, points))
    ).tolist():
        height, width = shapes[level]
        x = locations[b, q, m, level, p, 0].item() * width - 0.5
        y = locations[b, q, m, level, p, 1].item() * height - 0.5
        left, top = int(x // 1), int(y // 1)
        for row, column in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
            if 0 <= row < height and 0 <= column < width:
                share = (1 - abs(x - column)) * (1 - abs(y - row))
                place = starts[level] + row * width + column
                out[b, q, m] += weights[b, q, m, level, p] * share * value[b, place, m]
    return out.flatten(2)


def sampling_inputs(dtype=torch.float64):
    torch.manual_seed(0)
    shapes = [(5, 7), (3, 4)]
    value = torch.randn(2, 47, 2, 4, dtype=dtype, requires_grad=True)
    locations = (torch.rand(2, 3, 2, 2, 4, 2, dtype=dtype) * 1.4 - 0.2).requires_grad_()
    weights = torch.rand(2, 3, 2, 2, 4, dtype=dtype, requires_grad=True)
    return value, shapes, locations, weights


def test_deformable_sampling_equals_its_equation():
    value, shapes, locations, weights = sampling_inputs()
    expected = sampled_by_hand(value, shapes, locations, weights)
    torch.testing.assert_close(sample_levels(value, shapes, locations, weights), expected)


def test_gradients_of_deformable_sampling_equal_finite_differences():
    value, shapes, locations, weights = sampling_inputs()
    assert torch.autograd.gradcheck(
        lambda v, x, w: sample_levels(v, shapes, x, w), (value, locations, weights)
    )


@pytest.mark.slow
def test_deformable_attention_compiles_whole():
    torch.manual_seed(0)
    attention = DeformableAttention(32, 4, 2, 4)
    shapes = [(8, 6), (4, 3)]
    inputs = (
        torch.randn(2, 5, 32), torch.rand(2, 5, 2, 4), torch.randn(2, 60, 32), shapes,
        torch.zeros(2, 60, dtype=torch.bool),
    )  # fmt: skip
    expected = attention(*inputs)
    compiled = torch.compile(attention, fullgraph=True)
    torch.testing.assert_close(compiled(*inputs), expected, atol=1e-5, rtol=1e-5)


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
        {"method": "vidt_wo_neck"},
        {"fusion": True, "iou_aware": True, "token_label": True},
        {"box_refinement": False},
    ],
)
def test_options_shape_what_a_detector_returns(options, tmp_path):
    model = create_model("vidt_digits", **options).train()
    images = torch.randn(2, 3, 64, 96)
    found = model(images)
    assert found["pred_logits"].shape == (2, 20, 10)
    assert found["pred_boxes"].shape == (2, 20, 4)
    if "iou_aware" in options:
        assert found["pred_iou"].shape == (2, 20, 1)
        assert found["patch_logits"].shape[-1] == 10
    loss = found["pred_logits"].sum() + found["pred_boxes"].sum()
    loss.backward()
    assert model.backbone.det_token.grad.abs().sum() > 0


def test_an_unknown_method_is_refused():
    with pytest.raises(UserError, match="vidt_wo_neck"):
        create_model("vidt_nano", method="deformable_detr")
