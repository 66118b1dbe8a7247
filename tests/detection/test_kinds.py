"""Every kind of detector is exported, evaluated in ONNX, and asked for boxes."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from vkd import create_model
from vkd.recipe import recipe

SIZE = (64, 80)
KINDS = {
    "coat": ("vidt_coat_lite_tiny", {"num_layers": 2}),
    "without neck": ("vidt_digits", {"architecture": "vidt_wo_neck"}),
    "fusion": ("vidt_digits", {"fusion": True}),
    "plain": ("vidt_digits", {"box_refinement": False}),
}


@pytest.fixture(scope="module", params=KINDS)
def saved(request, tmp_path_factory):
    """A detector of random weights, and its checkpoint as a run writes it."""
    name, options = KINDS[request.param]
    torch.manual_seed(0)
    model = create_model(name, **options).eval()
    # Alone, a detector at its start gives every class nearly the same chance.
    for parameter in model.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    file = tmp_path_factory.mktemp("kind") / "weights.safetensors"
    config = recipe("vidt-nano-coco", student=name, short_side=64, long_side=96, device="cpu")
    metadata = {
        "architecture": name, "recipe": json.dumps(asdict(config)),
        "options": json.dumps(model.untold_options()),
    }  # fmt: skip
    state = {key: value.clone() for key, value in model.state_dict().items()}
    save_file(state, file, metadata)
    return model, file


@pytest.mark.slow
def test_onnx_gives_the_same_outputs_for_other_numbers_of_images(saved, tmp_path, vkd):
    import onnxruntime

    model, file = saved
    target = tmp_path / "detector.onnx"
    size = ("--height", SIZE[0], "--width", SIZE[1])
    done = vkd("export", "--checkpoint", file, target, *size)
    assert done.returncode == 0, done.stderr
    session = onnxruntime.InferenceSession(str(target), providers=["CPUExecutionProvider"])
    for count in (1, 3):
        images = torch.randn(count, 3, *SIZE, generator=torch.Generator().manual_seed(count))
        mask = torch.zeros(count, *SIZE, dtype=torch.bool)
        mask[-1, :, 48:] = True
        with torch.no_grad():
            expected = model(images, mask)
        found = session.run(None, {"images": images.numpy(), "mask": mask.numpy()})
        for name, part in zip(("pred_logits", "pred_boxes"), found, strict=True):
            torch.testing.assert_close(torch.from_numpy(part), expected[name], atol=1e-3, rtol=1e-3)


@pytest.mark.slow
def test_predict_answers_best_first(saved, coco, vkd):
    model, file = saved
    pictures = sorted((coco / "val2017").glob("*.jpg"))[:2]
    done = vkd("predict", "--checkpoint", file, "--threshold", 0, *pictures)
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [Path(record["image"]) for record in records] == pictures
    queries = model.backbone.det_token.shape[1]
    for record in records:
        scores = [found["score"] for found in record["detections"]]
        assert scores == sorted(scores, reverse=True)
        assert 0 < scores[0] <= 1
        assert len(scores) <= (queries if model.softmax else 100)
