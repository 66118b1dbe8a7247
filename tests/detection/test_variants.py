"""All kinds of detectors that the paper's release builds, against golden numbers made by it."""

import pytest
import torch
from safetensors.torch import load_file

from support.formula import GOLDEN, draw
from support.release import losses_of, targets_of, vidt_file
from vkd import create_model
from vkd.api.convert import convert
from vkd.detection.matching import Rules
from vkd.detection.postprocess import best_detections
from vkd.errors import UserError
from vkd.models.checkpoints import read_checkpoint

TOLERANCE = {"rtol": 1e-3, "atol": 1e-3}
# CoaT's last layers make 2e-3 of what another processor or number of threads rounds otherwise.
COARSE = {"rtol": 1e-3, "atol": 4e-3}
SIZES = (256, 320), (224, 288)
CASES = {
    "vidt_nano_plain": ("vidt_nano", {}),
    "vidt_nano_wo_neck": ("vidt_nano", {}),
    "vidt_nano_fusion": ("vidt_nano", {}),
    "vidt_nano_iou": ("vidt_nano", {}),
    "vidt_nano_shaped": ("vidt_nano", {"cross_indices": [2, 3], "nheads": 8, "dec_n_points": 4}),
    "vidt_coat_lite_mini": ("vidt_coat_lite_mini", {}),
}


@pytest.fixture(scope="module", params=CASES)
def golden(request, tmp_path_factory):
    """The golden numbers, the model of a converted checkpoint, and what it says."""
    case = request.param
    name, flags = CASES[case]
    folder = tmp_path_factory.mktemp(case)
    file = convert(str(vidt_file(name, folder, case, **flags)), str(folder / "c.safetensors"))[0]
    model = create_model(name, file).eval()
    images = [draw(f"input.{i}", (3, *size)) for i, size in enumerate(SIZES)]
    # oneDNN's convolutions round otherwise.
    with torch.no_grad(), torch.backends.mkldnn.flags(enabled=False):
        outputs = model(images) if model.softmax else model(images, with_tokens=True)
    return load_file(GOLDEN / f"{case}.safetensors"), model, outputs


def test_outputs_of_every_layer_equal_the_releases(golden, request):
    expected, _, found = golden
    tolerance = COARSE if "coat" in request.node.callspec.params["golden"] else TOLERANCE
    layers = {"": found} | {f"aux.{i}.": o for i, o in enumerate(found.get("aux_outputs", []))}
    compared = 0
    for start, layer in layers.items():
        for name in ("pred_logits", "pred_boxes", "pred_ious"):
            numbers = expected.get(f"{start}{name}")
            if numbers is not None:
                own = layer[name] if not start else layer[name][:, :10]
                torch.testing.assert_close(own, numbers, **tolerance)
                compared += 1
    assert compared == sum(".pred_" in key or key.startswith("pred_") for key in expected)


def test_post_processing_equals_the_releases(golden):
    expected, model, found = golden
    sizes = torch.tensor([[2 * height, 2 * width] for height, width in SIZES])
    for image, best in enumerate(best_detections(found, sizes, softmax=model.softmax)):
        torch.testing.assert_close(best["scores"], expected[f"post.{image}.scores"], **TOLERANCE)
        distance = torch.cdist(best["boxes"], expected[f"post.{image}.boxes"], p=float("inf"))
        differs = best["labels"][:, None] != expected[f"post.{image}.labels"]
        # Detections of nearly equal scores may change places, or be the last or not.
        assert (distance.masked_fill(differs, 1e9).amin(0) < 0.3).float().mean() > 0.98


def test_every_loss_term_equals_the_releases(golden):
    expected, model, found = golden
    losses = losses_of(found, targets_of(2), Rules(softmax=model.softmax))
    theirs = {"ce": "class", "bbox": "box", "giou": "giou", "iouaware": "iou"}
    names = [key for key in expected if key.startswith("loss.loss_")]
    assert len(names) >= 3
    for name in names:
        kind, _, suffix = name.removeprefix("loss.loss_").partition("_")
        ours = losses[theirs[kind]][int(suffix) if suffix else -1]
        torch.testing.assert_close(ours, expected[name], **TOLERANCE)


def test_a_converted_file_keeps_what_shapes_do_not_tell(tmp_path):
    flags = {"cross_indices": [2, 3], "nheads": 8, "dec_n_points": 4}
    file = vidt_file("vidt_nano", tmp_path, "vidt_nano_shaped", **flags)
    again = convert(str(file), str(tmp_path / "a.safetensors"))[0]
    options = read_checkpoint(again).options
    assert options == read_checkpoint(file).options
    assert options["cross_stages"] == [2, 3]
    assert (options["num_layers"], options["num_det_tokens"]) == (4, 60)


def test_coat_has_no_stochastic_depth():
    with pytest.raises(UserError, match="no stochastic depth"):
        create_model("vidt_coat_lite_tiny", drop_path_rate=0.1)
