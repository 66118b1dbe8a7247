"""Training from weights of other classes: one epoch of every task, and what is said."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file

import vkd
from support.canvases import few_canvases
from support.commands import run_python
from support.gan import small_gan
from vkd.api.train import train
from vkd.models.biggan import Generator
from vkd.models.checkpoints import read_checkpoint

# With a rate of 0 an epoch leaves all weights as they were, but for the statistics of norms.
STILL = {
    "epochs": 1, "warmup_epochs": 0, "lr": 0.0, "min_lr": 0.0, "device": "cpu", "trackers": "",
    "batch_size": 4, "show": False,
}  # fmt: skip


def grey_squares(count):
    torch.manual_seed(0)
    return [(torch.randn(1, 8, 8), index % 3) for index in range(count)]


def weights(run):
    return load_file(run / "model.safetensors")


def said(caplog):
    """How many tensors are taken, of how many, and what starts anew."""
    found = re.search(r"starts from it: (\d+) of (\d+) tensors are taken; (.+) start anew",
                      caplog.text)  # fmt: skip
    return int(found[1]), int(found[2]), found[3]


def test_a_classifier_starts_from_a_run_with_other_classes(digits_teacher, tmp_path, caplog):
    data = vkd.splits_of(grey_squares(8), grey_squares(8), classes=["a", "b", "c"])
    vkd.train(
        "digits", tmp_path / "run", data=data, student="cnn_digits", feature_weight=0.0,
        student_checkpoint=str(digits_teacher), **STILL,
    )  # fmt: skip
    before, after = weights(digits_teacher), weights(tmp_path / "run")
    assert after["features.0.weight"].equal(before["features.0.weight"])
    assert after["head.weight"].shape == (3, before["head.weight"].shape[1])
    assert read_checkpoint(tmp_path / "run").classes == ["a", "b", "c"]
    taken, whole, anew = said(caplog)
    assert (taken, whole) == (len(before) - 2, len(before))
    assert anew == "head.weight, head.bias"
    assert str(digits_teacher) in caplog.text


def test_it_learns_from_there_and_better_than_from_nothing(digits_teacher, tmp_path):
    values = STILL | {"lr": 1e-3, "batch_size": 64}
    started, new = (
        vkd.train("digits-teacher", tmp_path / name, student_checkpoint=source, **values)
        for name, source in (("started", str(digits_teacher)), ("new", ""))
    )
    assert started["accuracy"] > new["accuracy"]


@pytest.fixture(scope="module")
def detector(coco, tmp_path_factory):
    """A run on the two categories of COCO's small set, from weights of 91 classes."""
    folder = tmp_path_factory.mktemp("detector")
    source = vkd.create_model("vidt_digits", num_classes=91)
    torch.save({"model": source.state_dict(), "epoch": 3}, folder / "coco.pth")
    vkd.train(
        "digits-detection-teacher", folder / "run", student="vidt_digits", dataset="coco",
        data_path=str(coco), short_side=64, long_side=96, augmentation="none",
        student_checkpoint=str(folder / "coco.pth"), **STILL,
    )  # fmt: skip
    return source.state_dict(), folder / "run"


def test_a_detector_starts_from_one_of_other_categories(detector, coco, vkd):
    before, run = detector
    after = weights(run)
    for name, value in after.items():
        assert ("class_embed" in name) or value.equal(before[name]), name
    assert after["class_embed.0.weight"].shape[0] == 2
    done = vkd("eval", "--checkpoint", run, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    picture = sorted((coco / "val2017").glob("*.jpg"))[0]
    done = vkd("predict", "--checkpoint", run, "--threshold", 0, picture)
    found = json.loads(done.stdout)["detections"]
    assert {record["category"] for record in found} <= {"odd", "even"}


def test_a_detector_starts_from_a_run_and_says_which_heads_are_new(detector, tmp_path, caplog):
    _, run = detector
    with few_canvases(8, 4, 4):
        vkd.train("digits-detection-teacher", tmp_path / "run", student="vidt_digits",
                  student_checkpoint=str(run), **STILL)  # fmt: skip
    before, after = weights(run), weights(tmp_path / "run")
    assert after["backbone.det_token"].equal(before["backbone.det_token"])
    assert after["class_embed.0.weight"].shape[0] == 10
    taken, whole, anew = said(caplog)
    heads = [name for name in before if name.startswith("class_embed.")]
    assert (taken, whole) == (len(before) - len(heads), len(before))
    assert heads[0] in anew


def test_a_generator_starts_from_one_of_other_classes(digits_teacher, tmp_path, caplog):
    source = Generator(num_classes=4, in_chans=1, channels=4, noise_dim=8).state_dict()
    torch.save({"generator": source, "discriminator": {"w": torch.ones(2)}}, tmp_path / "g.pth")
    changes = {name: value for name, value in STILL.items() if name not in ("show", "min_lr")}
    config = small_gan(
        teacher_checkpoint=str(digits_teacher), extractor_checkpoint=str(digits_teacher),
        student_checkpoint=str(tmp_path / "g.pth"), **changes,
    )  # fmt: skip
    train(config, tmp_path / "run", show=False)
    after = weights(tmp_path / "run")
    # A few steps at the rates of GANs, which are their own, move weights by little.
    name = "linear.parametrizations.weight.original"
    assert (after[name] - source[name]).abs().mean() < 0.1 * source[name].abs().mean()
    assert after["blocks.0.norm1.scale.weight"].shape[0] == 10
    assert "blocks.0.norm1.scale.weight" in said(caplog)[2]
    assert "below generator are taken; 1 tensors beside" in caplog.text


def test_the_hub_without_weights_of_a_model_gets_a_sentence(tmp_path, vkd):
    done = vkd("train", "digits-teacher", "--student-checkpoint", "hub", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "timm publishes no weights of cnn_digits" in done.stderr


@pytest.mark.slow
def test_the_hub_out_of_reach_gets_a_sentence(tmp_path):
    done = run_python(
        "-m", "vkd", "train", "digits-teacher", "--student", "resnet18", "--student-checkpoint",
        "hub", "--output", tmp_path / "run", "--device", "cpu",
        HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path), TORCH_HOME=str(tmp_path),
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    sentence = done.stderr.splitlines()[-1]
    assert "weights of resnet18 could not be fetched from the hub" in sentence
    assert "Traceback" not in done.stderr
    assert len(sentence) <= 306
