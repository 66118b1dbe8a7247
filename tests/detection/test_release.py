"""ViDT's detectors, matching, losses and tokens against golden numbers of the paper's release."""

from functools import partial

import pytest
import torch
from safetensors.torch import load_file

from support.formula import GOLDEN, draw, orthonormal
from support.release import targets_of, vidt_file
from vkd import create_model
from vkd.detection.losses import detection_losses
from vkd.detection.matching import match
from vkd.detection.postprocess import best_detections
from vkd.detection.tokens import TokenLoss, TokenTeacher
from vkd.methods.vkd import VkD

TOLERANCE = {"rtol": 1e-3, "atol": 1e-3}


SIZES = {"vidt_nano": ((256, 320), (224, 288)), "vidt_tiny": ((192, 256), (256, 224))}


@pytest.fixture(scope="module", params=SIZES)
def golden(request, tmp_path_factory):
    """The name, the golden numbers, the model and what it says."""
    name = request.param
    model = create_model(name, vidt_file(name, tmp_path_factory.mktemp(name))).eval()
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
        scores, labels, boxes = (
            expected[f"post.{image}.{part}"] for part in ("scores", "labels", "boxes")
        )
        torch.testing.assert_close(best["scores"], scores, **TOLERANCE)
        # Scores that are equal within the tolerance may come in another order.
        for place, box in enumerate(boxes):
            alike = (best["scores"] - scores[place]).abs() <= 1e-3 * scores[place]
            alike &= best["labels"] == labels[place]
            assert any(
                torch.allclose(found, box, rtol=1e-3, atol=0.1) for found in best["boxes"][alike]
            )


def test_matching_equals_the_releases(golden):
    _, expected, _, found = golden
    (matches,) = match(found["pred_logits"][None], found["pred_boxes"][None], targets_of(2))
    for image, (predictions, objects) in enumerate(matches):
        assert predictions.equal(expected[f"matcher.{image}.prediction"])
        assert objects.equal(expected[f"matcher.{image}.target"])


def test_every_loss_term_equals_the_releases(golden):
    _, expected, _, found = golden
    *earlier, last = detection_losses(found, targets_of(2))
    theirs = {"ce": "class", "bbox": "box", "giou": "giou"}
    names = [key for key in expected if key.startswith("loss.loss_")]
    assert len(names) == 21
    for name in names:
        kind, _, suffix = name.removeprefix("loss.loss_").partition("_")
        ours = (earlier[int(suffix)] if suffix else last)[theirs[kind]]
        torch.testing.assert_close(ours, expected[name], **TOLERANCE)


def test_token_distillation_equals_the_releases(golden, tmp_path):
    name, expected, _, found = golden
    if name != "vidt_nano":
        pytest.skip("the release's number is of nano taught by tiny")
    images = [draw(f"input.{i}", (3, *size)) for i, size in enumerate(SIZES[name])]
    from vkd.models.vidt.detector import pad_images

    teacher = TokenTeacher(create_model("vidt_tiny", vidt_file("vidt_tiny", tmp_path)))
    loss = TokenLoss(partial(VkD, normalization="standardize", both_sides=True))
    for part, module in loss.losses.items():
        matrix = orthonormal(f"projection.{part.replace('_', '.')}", 256, 256)
        module.loss.projection.projection.load_weight(matrix)
    with torch.no_grad():
        value = loss(found["tokens"], teacher(*pad_images(images)))
    torch.testing.assert_close(value, expected["loss.distil.vidt_tiny"], **TOLERANCE)
