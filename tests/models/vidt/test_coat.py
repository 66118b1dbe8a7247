"""ViDT on CoaT-lite: starts from timm's weights, learns with distillation, is exported."""

import pytest
import timm
import torch
from safetensors.torch import save_file

from support.coco import write_coco
from vkd import create_model
from vkd.detection.backbone_weights import load_backbone
from vkd.detection.config import DetectionConfig
from vkd.detection.task import DetectionTask
from vkd.errors import UserError
from vkd.models.checkpoints import read_checkpoint
from vkd.models.vidt.variants import BACKBONES, COAT
from vkd.training.task import Objects


@pytest.mark.parametrize("name", COAT)
def test_a_body_starts_from_timms_weights(name, tmp_path):
    torch.manual_seed(0)
    published = timm.create_model(BACKBONES[name].split(".")[0], num_classes=0)
    file = tmp_path / "coat.safetensors"
    save_file({k: v.clone() for k, v in published.state_dict().items()}, file)
    model = create_model(name, num_det_tokens=3)
    load_backbone(model, name, str(file))
    stage = model.backbone.stages[2]
    block = published.serial_blocks3[1]
    assert stage.blocks[1].attn.qkv.weight.equal(block.factoratt_crpe.qkv.weight)
    assert stage.crpe.conv_list[2].weight.equal(published.crpe3.conv_list[2].weight)
    assert stage.class_token.equal(published.cls_token3)
    other = "vidt_coat_lite_tiny" if name != "vidt_coat_lite_tiny" else "vidt_coat_lite_mini"
    with pytest.raises(UserError, match="does not fit"):
        load_backbone(create_model(other, num_det_tokens=3), other, str(file))


def test_detection_tokens_see_patches_in_the_last_stage_alone():
    torch.manual_seed(0)
    body = create_model("vidt_coat_lite_tiny", num_det_tokens=3).backbone.eval()
    images, mask = torch.randn(1, 3, 64, 96), torch.zeros(1, 64, 96, dtype=torch.bool)
    found = body(images, mask)
    assert [tuple(m.shape[1:]) for m in found.maps] == [
        (128, 8, 12), (256, 4, 6), (320, 2, 3), (256, 1, 2)
    ]  # fmt: skip
    body.cross_stages = ()
    blind = [body(i, mask).det_tokens for i in (images, -images)]
    assert blind[0].equal(blind[1])
    assert not found.det_tokens.equal(blind[0])


def test_a_step_with_distillation_moves_every_part(tmp_path):
    """A student on CoaT-lite learns from a teacher on Swin."""
    torch.manual_seed(0)
    config = DetectionConfig(
        data_path=str(write_coco(tmp_path)), student="vidt_coat_lite_tiny", num_det_tokens=10,
        student_options={"num_layers": 2}, teacher="vidt_nano", feature_weight=4.0,
        batch_size=2, short_side=64, long_side=96, device="cpu",
    )  # fmt: skip
    teacher = create_model("vidt_nano", num_det_tokens=10, num_layers=2)
    task = DetectionTask(config, Objects(teacher=teacher))
    module = task.steps[0].module
    terms = module(next(iter(task.train_loader())))
    assert {"class", "box", "giou", "feature"} <= set(terms)
    torch.stack(list(terms.values())).sum().backward()
    idle = {n for n, p in module.student.named_parameters() if p.grad is None}
    assert idle == set()
    assert all(p.grad.isfinite().all() for p in module.student.parameters())


def test_a_saved_detector_is_known_by_its_file(tmp_path):
    model = create_model("vidt_coat_lite_mini", num_classes=4, num_det_tokens=5, fusion=True)
    file = tmp_path / "a.safetensors"
    save_file({k: v.clone() for k, v in model.state_dict().items()}, file)
    read = read_checkpoint(file)
    assert read.architecture == "vidt_coat_lite_mini"
    again = create_model(read.architecture, file)
    image = [torch.randn(3, 64, 64)]
    with torch.no_grad():
        torch.testing.assert_close(
            model.eval()(image)["pred_boxes"], again.eval()(image)["pred_boxes"]
        )
