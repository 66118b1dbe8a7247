"""The pixels that reach student and teacher are those that each was trained with."""

import json

import pytest
import timm
import torch
from safetensors.torch import save_file
from torchvision.transforms import functional as F

import vkd
from support.pictures import write_picture
from vkd.classification.task import ClassificationTask
from vkd.inputs import InputFormat
from vkd.models.factory import published_config
from vkd.recipe import recipe

SIDE = 64
HALF = (0.5,) * 3, (0.5,) * 3
IMAGENET = timm.data.IMAGENET_DEFAULT_MEAN, timm.data.IMAGENET_DEFAULT_STD
OWN = (0.1, 0.2, 0.7), (0.9, 0.5, 0.3)
GREYS = {"cat": 40, "dog": 200}


@pytest.fixture
def data(tmp_path):
    """Pictures of one grey value each, which no crop and no mirror changes."""
    for split in ("train", "val"):
        for name, grey in GREYS.items():
            for i in range(4):
                write_picture(tmp_path / "data" / split / name / f"{i}.png", grey)
    return tmp_path / "data"


def config(data, weights, **changes):
    values = {
        "dataset": "folder", "data_path": str(data), "input_size": SIDE, "student": "test_vit",
        "teacher": "test_efficientnet", "teacher_layer": "conv_head", "batch_size": 4,
        "teacher_checkpoint": str(weights), "device": "cpu", "trackers": "", "workers": 0,
    }  # fmt: skip
    return recipe("digits", **{**values, **changes})


def watched(monkeypatch, kinds):
    """What reaches the networks of these classes from now on, by the name of the class."""
    seen = {kind.__name__: [] for kind in kinds}
    for kind in kinds:
        original = kind.forward

        def forward(self, images, *rest, original=original, kind=kind):
            seen[kind.__name__].append(images.detach())
            return original(self, images, *rest)

        monkeypatch.setattr(kind, "forward", forward)
    return seen


def expected(grey, stats):
    """The three channels of a grey picture, normalised by hand."""
    return F.normalize(torch.full((1, 3, 1, 1), grey / 255), *stats)[0, :, 0, 0]


def assert_greys(images, stats):
    """That each image is one of the greys, normalised so, and each grey is there."""
    values = [expected(grey, stats) for grey in GREYS.values()]
    found = set()
    for image in images:
        distances = [(image - value[:, None, None]).abs().max().item() for value in values]
        assert min(distances) < 1e-4
        found.add(distances.index(min(distances)))
    assert found == {0, 1}


def teacher(folder, stats=None):
    """Weights of a teacher: as timm's, or as those of an own run with these statistics."""
    network = timm.create_model("test_efficientnet", num_classes=2)
    if stats is None:
        torch.save(network.state_dict(), folder / "teacher.pth")
        return folder / "teacher.pth"
    inputs = InputFormat(*stats, (SIDE, SIDE), 0.9).as_dict() | {"shape": [3, SIDE, SIDE]}
    metadata = {"classes": json.dumps(list(GREYS)), "inputs": json.dumps(inputs)}
    save_file(network.state_dict(), folder / "teacher.safetensors", metadata)
    return folder / "teacher.safetensors"


@pytest.mark.parametrize("stats", [None, OWN])
def test_training_shows_each_network_its_own_pixels(data, tmp_path, monkeypatch, stats):
    assert published_config("test_vit")["mean"] == HALF[0]
    assert published_config("test_efficientnet")["mean"] == IMAGENET[0]
    task = ClassificationTask(config(data, teacher(tmp_path, stats)))
    module = task.steps[0].module
    kinds = type(module.student), type(module.distillation.teacher.model)
    seen = watched(monkeypatch, kinds)
    module.train()
    for batch in task.train_loader():
        module(batch)
    assert_greys(torch.cat(seen[kinds[0].__name__]), HALF)
    assert_greys(torch.cat(seen[kinds[1].__name__]), stats or IMAGENET)


@pytest.mark.parametrize("stats", [None, OWN])
def test_a_store_is_made_of_the_teachers_own_pixels(data, tmp_path, monkeypatch, stats):
    weights = teacher(tmp_path, stats)
    kind = type(timm.create_model("test_efficientnet"))
    seen = watched(monkeypatch, [kind])
    vkd.cache(config(data, weights), tmp_path / "store", views=1, dtype="float32", show=False)
    # Before the eight images came zeros, to find widths with.
    assert_greys(torch.cat(seen[kind.__name__])[-8:], stats or IMAGENET)


@pytest.mark.parametrize(("name", "stats"), [("test_vit", HALF), ("test_efficientnet", IMAGENET)])
def test_weights_of_timm_are_evaluated_with_their_own_pixels(
    data, tmp_path, monkeypatch, name, stats
):
    network = timm.create_model(
        name, num_classes=2, **({"img_size": SIDE} if "vit" in name else {})
    )
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    seen = watched(monkeypatch, [type(network)])
    vkd.evaluate(
        str(tmp_path / "weights.pth"), "digits", dataset="folder", data_path=str(data),
        input_size=SIDE, student=name, device="cpu", trackers="", workers=0,
        method="none", feature_weight=0.0, teacher="",
    )  # fmt: skip
    assert_greys(
        torch.cat([batch for batch in seen[type(network).__name__] if len(batch) == 8]), stats
    )
