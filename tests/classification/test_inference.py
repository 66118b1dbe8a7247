"""Trained classifiers see image files as they saw their training images."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torchvision.transforms import functional as F

import vkd
from vkd.classification.task import ClassificationTask
from vkd.models.factory import published_config
from vkd.recipe import recipe

IMAGENET = timm.data.IMAGENET_DEFAULT_MEAN, timm.data.IMAGENET_DEFAULT_STD
HALF = (0.5,) * 3, (0.5,) * 3


@pytest.fixture
def picture(tmp_path):
    """An image file of random colours."""
    pixels = np.random.default_rng(0).integers(0, 256, (50, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def cropped(file, side, share):
    """An image file as a tensor in 0..1: resized by torchvision, its centre cut out."""
    with Image.open(file) as image:
        resized = F.resize(image, int(side / share), F.InterpolationMode.BICUBIC)
        return F.to_tensor(F.center_crop(resized, side))


def test_predict_uses_the_mean_deviation_and_size_of_the_checkpoint(picture, tmp_path):
    torch.manual_seed(0)
    stats = (0.1, 0.2, 0.7), (0.9, 0.5, 0.3)
    images = [(torch.randn(3, 24, 20), index % 3) for index in range(6)]
    data = vkd.splits_of(images, images, classes=["a", "b", "c"], mean=stats[0], std=stats[1])
    vkd.train(
        "digits", tmp_path / "run", data=data, student="test_resnet", feature_weight=0.0, epochs=1,
        warmup_epochs=0, batch_size=6, lr=0.01, device="cpu", trackers="", show=False,
    )  # fmt: skip
    model = vkd.create_model("test_resnet", tmp_path / "run").eval()
    with Image.open(picture) as image:
        whole = F.to_tensor(F.resize(image, (24, 20), F.InterpolationMode.BICUBIC))
    with torch.no_grad():
        expected, other = (
            model(F.normalize(whole, *values)[None]).softmax(1)[0] for values in (stats, IMAGENET)
        )
    (record,) = vkd.predict(str(tmp_path / "run"), [picture])
    assert record["class"] == "abc"[int(expected.argmax())]
    assert record["probability"] == pytest.approx(expected.max().item(), abs=1e-4)
    assert abs(expected.max() - other.max()) > 1e-3, "the statistics make no difference here"


def test_a_teacher_sees_its_own_normalisation_in_training(photographs, tmp_path):
    """A student published for mean 0.5, taught by a network published for ImageNet's."""
    assert published_config("test_vit")["mean"] == HALF[0]
    assert published_config("test_efficientnet")["mean"] == IMAGENET[0]
    teacher = timm.create_model("test_efficientnet", num_classes=3)
    weights = tmp_path / "teacher.pth"
    torch.save(teacher.state_dict(), weights)
    config = recipe(
        "digits", dataset="folder", data_path=str(photographs), input_size=64, student="test_vit",
        teacher="test_efficientnet", teacher_layer="conv_head", teacher_checkpoint=str(weights),
        batch_size=4, device="cpu", trackers="",
    )  # fmt: skip
    task = ClassificationTask(config)
    module = task.steps[0].module
    seen = {}
    networks = {"student": module.student, "teacher": module.distillation.teacher.model}
    for name, network in networks.items():
        network.register_forward_pre_hook(
            lambda _, inputs, name=name: seen.update({name: inputs[0].detach()})
        )
    # Images prepared without chance, in training's step.
    batch = [task.splits.validation[index] for index in range(4)]
    images, labels = torch.stack([item[0] for item in batch]), torch.tensor([b[1] for b in batch])
    module.train()((images, labels, torch.arange(4)))
    files = sorted(Path(photographs, "val", "n00").iterdir(), key=lambda file: file.name)[:4]
    share = published_config("test_vit")["crop_pct"]
    raw = torch.stack([cropped(file, 64, share) for file in files])
    for name, stats in (("student", HALF), ("teacher", IMAGENET)):
        torch.testing.assert_close(seen[name], F.normalize(raw, *stats), atol=1e-5, rtol=0)


def test_a_distillers_teacher_sees_its_own_normalisation():
    torch.manual_seed(0)
    student = timm.create_model("test_vit", img_size=64)
    teacher = timm.create_model("test_efficientnet")
    seen = []
    raw = torch.rand(2, 3, 64, 64)
    example = torch.zeros(2, 3, 64, 64)
    with vkd.Distiller(student, teacher, "norm", "conv_head", example=example) as distiller:
        teacher.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        distiller(F.normalize(raw, *HALF))
    torch.testing.assert_close(seen[-1], F.normalize(raw, *IMAGENET), atol=1e-5, rtol=0)
