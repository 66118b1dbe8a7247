"""Labels are the names' that a network knows, not their places in a folder."""

import json

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

import vkd
from support.pictures import write_classes
from vkd.classification.names import logit_order, places_of_labels
from vkd.classification.task import ClassificationTask
from vkd.data.pictures import open_picture
from vkd.data.transforms import evaluation_transform
from vkd.errors import UserError
from vkd.inputs import InputFormat
from vkd.recipe import recipe

KNOWN = ["cat", "dog", "fox"]
FORMAT = InputFormat((0.5,) * 3, (0.5,) * 3, (32, 32), 0.9)


def checkpoint(folder, classes=KNOWN, outputs=3, name="model.safetensors", seed=0):
    """A network with weights of chance that tell pictures apart, and its file."""
    torch.manual_seed(seed)
    model = timm.create_model("test_resnet", num_classes=outputs).eval()
    torch.nn.init.normal_(model.get_classifier().weight)
    inputs = json.dumps(FORMAT.as_dict() | {"shape": [3, 32, 32]})
    metadata = {"classes": json.dumps(classes), "inputs": inputs} if classes else {}
    save_file(model.state_dict(), folder / name, metadata)
    return model, str(folder / name)


def evaluated(file, path, **changes):
    return vkd.evaluate(
        file, "digits", dataset="folder", data_path=str(path), student="test_resnet",
        input_size=32, device="cpu", trackers="", teacher="", feature_weight=0.0, method="none",
        workers=0, **changes,
    )  # fmt: skip


def loss_by_name(model, files):
    """The cross-entropy of files whose folder's name is their class, by hand."""
    prepare = evaluation_transform(FORMAT)
    images = torch.stack([prepare(open_picture(file)) for file in files])
    labels = torch.tensor([KNOWN.index(file.parent.name) for file in files])
    with torch.no_grad():
        return F.cross_entropy(model(images), labels).item()


@pytest.mark.parametrize(
    ("classes", "unknown"),
    [
        (["cat", "fox"], []),
        (["cat", "dog", "owl"], ["owl"]),
        (["ape", "cat", "dog"], ["ape"]),
        (["dog"], []),
        (["Zebra", "ape", "cat", "dog", "fox"], ["Zebra", "ape"]),
    ],
)
def test_evaluation_is_by_the_names_of_the_checkpoint(tmp_path, classes, unknown, caplog):
    model, file = checkpoint(tmp_path)
    write_classes(tmp_path, "val", classes)
    metrics = evaluated(file, tmp_path)
    files = [f for f in sorted((tmp_path / "val").rglob("*.png")) if f.parent.name in KNOWN]
    assert metrics["loss"] == pytest.approx(loss_by_name(model, files), rel=1e-4)
    assert metrics.get("unknown", 0) == 4 * len(unknown)
    assert "skipped" not in metrics
    for name in unknown:
        assert name in caplog.text


def test_evaluation_of_other_classes_is_refused(tmp_path):
    _, file = checkpoint(tmp_path)
    write_classes(tmp_path, "val", ["ape", "owl", "emu"])
    with pytest.raises(UserError, match=r"none of the data's classes \(ape, emu, owl\).*cat, dog"):
        evaluated(file, tmp_path)


def test_the_test_split_is_evaluated_where_there_is_one(tmp_path, caplog):
    model, file = checkpoint(tmp_path)
    for split, count in (("train", 3), ("val", 3), ("test", 2)):
        write_classes(tmp_path, split, KNOWN, count)
    metrics = evaluated(file, tmp_path)
    expected = loss_by_name(model, sorted((tmp_path / "test").rglob("*.png")))
    assert metrics["loss"] == pytest.approx(expected, rel=1e-4)
    assert "no test split" not in caplog.text
    (tmp_path / "test").rename(tmp_path / "elsewhere")
    evaluated(file, tmp_path)
    assert "evaluated on the validation split, as there is no test split" in caplog.text


def test_weights_without_names_are_compared_by_number(tmp_path):
    _, file = checkpoint(tmp_path, classes=[], outputs=5)
    write_classes(tmp_path, "val", KNOWN)
    with pytest.raises(UserError, match=r"3 classes \(cat, dog, fox\).* 5 outputs without names"):
        evaluated(file, tmp_path)


def test_a_part_of_imagenet_is_found_by_its_folders():
    names = ["n01440764", "n01443537", "n15075141", "n99999999"]
    assert places_of_labels(names, [], 1000, "x").tolist() == [0, 1, 999, -2]
    every = timm.data.ImageNetInfo().label_names()
    assert places_of_labels(every, [], 1000, "x") is None
    assert places_of_labels(every[::-1], [], 1000, "x").tolist() == list(range(999, -1, -1))


def test_numbers_of_shards_are_compared_by_value():
    assert places_of_labels(["3", "7"], ["00", "03", "07"], 3, "x").tolist() == [1, 2]
    assert places_of_labels(["0", "1", "2"], KNOWN, 3, "x") is None
    assert places_of_labels(["cat", "dog", "fox"], ["0", "1", "2"], 3, "x") is None


@pytest.mark.parametrize(
    ("known", "names", "order"),
    [
        (["cat", "dog"], ["cat", "dog"], None),
        (["fox", "cat", "dog"], ["cat", "dog", "fox"], [1, 2, 0]),
        ([], ["cat", "dog"], None),
        (["0", "1"], ["cat", "dog"], None),
    ],
)
def test_logits_are_reordered_by_name(known, names, order):
    assert logit_order(known, names, "t") == order


@pytest.mark.parametrize("known", [["cat", "dog"], ["ape", "cat", "dog"], [*KNOWN, "owl"]])
def test_logits_of_other_classes_are_refused(known):
    with pytest.raises(UserError, match=r"teacher t knows the classes .*cat, dog.*cat, dog, fox"):
        logit_order(known, KNOWN, "t")


def task(tmp_path, weights, **changes):
    values = {
        "dataset": "folder", "data_path": str(tmp_path), "input_size": 32, "batch_size": 4,
        "student": "test_resnet", "teacher": "test_resnet", "teacher_checkpoint": weights,
        "device": "cpu", "trackers": "", "feature_weight": 0.0, "logit_weight": 1.0,
        "method": "kd", "teacher_layer": "layer4",
    }  # fmt: skip
    return ClassificationTask(recipe("digits", **{**values, **changes}))


def test_a_teacher_of_the_same_classes_in_another_order_teaches_by_name(tmp_path):
    for split in ("train", "val"):
        write_classes(tmp_path, split, KNOWN)
    model, file = checkpoint(tmp_path, classes=["fox", "cat", "dog"])
    module = task(tmp_path, file).steps[0].module
    images = torch.randn(4, 3, 32, 32)
    found = module.distillation.teacher(images).logits
    adapted = module.distillation.teacher.teacher.adapter(images)
    with torch.no_grad():
        torch.testing.assert_close(found, model(adapted)[:, [1, 2, 0]])
    _, other = checkpoint(tmp_path, classes=["ape", "cat", "dog"], name="other.safetensors")
    with pytest.raises(UserError, match=r"knows the classes ape, cat, dog and the data have cat"):
        task(tmp_path, other)


@pytest.mark.parametrize("classes", [["cat"], ["only"]])
def test_one_class_is_refused_before_training(tmp_path, classes):
    for split in ("train", "val"):
        write_classes(tmp_path, split, classes)
    with pytest.raises(UserError, match="all of one class"):
        task(tmp_path, "")
