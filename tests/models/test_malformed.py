"""Weights files of odd layouts and shapes: one short sentence, and nothing written."""

import warnings

import pytest
import torch
from safetensors.torch import save_file

from support.release import deit_file, vidt_file
from vkd.models.checkpoints import load_checkpoint, read_checkpoint
from vkd.models.factory import create_model

ORIGINAL = "projector.parametrizations.weight.original"
BASE = "projector.parametrizations.weight.0.base"


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """What files of the release hold, by the model."""
    folder = tmp_path_factory.mktemp("release")
    deit = torch.load(deit_file("deit_ti_distilled", folder), weights_only=True)["student"]
    vidt = torch.load(vidt_file("vidt_nano", folder, "vidt_nano_distilled"), weights_only=False)
    return {
        "deit": {name.removeprefix("module."): value for name, value in deit.items()},
        "vidt": vidt["model"],
    }


def quantised():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such tensors are going away, files that hold them not
        return torch.quantize_per_tensor(torch.ones(1000), 0.1, 0, torch.qint8)


# What is changed in a file of the release (None: left out), and a word of the sentence.
CHANGES = {
    "pos_embed of one token": ("deit", {"pos_embed": torch.zeros(1, 1, 192)}, "pos_embed"),
    "pos_embed of no square": ("deit", {"pos_embed": torch.zeros(1, 9, 192)}, "9 tokens"),
    "pos_embed of one dimension": ("deit", {"pos_embed": torch.zeros(192)}, "pos_embed"),
    "pos_embed of none": ("deit", {"pos_embed": torch.tensor(1.0)}, "pos_embed"),
    "cls_token of none": ("deit", {"cls_token": torch.tensor(1.0)}, "cls_token"),
    "stem of one": ("deit", {"conv_embed.conv.0.weight": torch.ones(3)}, "conv_embed.conv.0"),
    "head of none": ("deit", {"head.weight": torch.tensor(1.0)}, "head.weight"),
    "head of no class": ("deit", {"head.weight": torch.zeros(0, 192)}, "head.weight"),
    "projector without base": ("deit", {BASE: None}, "base"),
    "base without projector": ("deit", {ORIGINAL: None}, "unexpected: projector"),
    "projector of three dimensions": ("deit", {ORIGINAL: torch.ones(5, 5, 5)}, "projector"),
    "projector wider than high": (
        "deit", {ORIGINAL: torch.ones(4, 9), BASE: torch.eye(4)}, "projector"
    ),
    "quantised": ("deit", {"head.bias": quantised()}, "head.bias is quantised"),
    "meta": ("deit", {"head.bias": torch.ones(9, device="meta")}, "head.bias is a meta tensor"),
    "sparse": ("deit", {"head.bias": torch.ones(9).to_sparse()}, "head.bias is sparse"),
    "complex": ("deit", {"head.bias": torch.ones(9) * 1j}, "head.bias is of complex"),
    "whole numbers": ("deit", {"head.bias": torch.ones(1000).long()}, "head.bias torch.int64"),
    "head of 10^10 classes": (
        "deit", {"head.weight": torch.ones(1, 192).expand(10**10, 192)}, "expanded"
    ),
    "det_token of none": ("vidt", {"backbone.det_token": torch.tensor(1.0)}, "det_token"),
    "positions of a width of no head": (
        "vidt", {"backbone.det_pos_embed": torch.ones(1, 100, 7)}, "for (48, 7)"
    ),
    "projector of a detector without base": (
        "vidt", {f"neck_det_{BASE}".replace("projector.p", "projector.projector.p"): None}, "base"
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", CHANGES)
def test_odd_tensors_are_named_and_nothing_is_written(kind, released, tmp_path, vkd):
    model, changes, word = CHANGES[kind]
    state = dict(released[model])
    for name, value in changes.items():
        before = state.pop(name)
        assert before is not None
        state |= {} if value is None else {name: value}
    torch.save({"model": state}, tmp_path / "w.pth")
    done = vkd("convert", tmp_path / "w.pth", tmp_path / "out" / "w.safetensors")
    assert done.returncode == 2, done.stdout
    assert word in done.stderr
    assert str(tmp_path / "w.pth") in done.stderr
    assert (done.stderr.count("\n"), len(done.stderr) <= 300) == (1, True)
    assert not list((tmp_path / "out").glob("*"))


def nested(depth):
    content = {"w": torch.ones(2)}
    for _ in range(depth):
        content = {"model": content}
    return content


def endless():
    content = {}
    content["model"] = content
    return content


CONTENTS = {
    "numbers as keys": {0: torch.ones(2)},
    "numbers in a dict": {"model": {0: torch.ones(2)}},
    "a list": [torch.ones(2)],
    "one tensor": torch.ones(2),
    "nothing": {},
    "none": None,
    "deep": nested(200),
    "endless": endless(),
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_what_holds_no_weights_by_name_is_refused(kind, tmp_path, vkd):
    torch.save(CONTENTS[kind], tmp_path / "w.pth")
    done = vkd("convert", tmp_path / "w.pth", tmp_path / "out.safetensors")
    assert done.returncode == 2
    assert "holds no weights" in done.stderr
    assert (done.stderr.count("\n"), len(done.stderr) <= 300) == (1, True)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_truncated_file_is_refused(share, released, tmp_path, vkd):
    torch.save(released["deit"], tmp_path / "w.pth")
    whole = (tmp_path / "w.pth").read_bytes()
    (tmp_path / "w.pth").write_bytes(whole[: int(share * len(whole))])
    done = vkd("convert", tmp_path / "w.pth", tmp_path / "out.safetensors")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "IN and OUT are required"),
        (["w.pth"], "OUT is required"),
        (["w.pth", "w.pth/below.safetensors"], "is no folder"),
        (["w.pth", "x" * 300 + ".safetensors"], "cannot be made"),
        (["y" * 300, "out.safetensors"], "There is no checkpoint"),
        (["w.pth", "there.safetensors"], "exists already"),
    ],
)
def test_words_of_convert_are_named(words, expected, tmp_path, vkd):
    torch.save({"w": torch.ones(2)}, tmp_path / "w.pth")
    (tmp_path / "there.safetensors").touch()
    done = vkd("convert", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert expected in done.stderr
    assert (done.stderr.count("\n"), len(done.stderr) <= 306) == (1, True)
    assert {file.name for file in tmp_path.iterdir()} == {"w.pth", "there.safetensors"}


def test_a_file_of_no_tensors_is_refused(tmp_path):
    save_file({}, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="holds no weights"):
        read_checkpoint(tmp_path / "w.safetensors")


def test_arrays_of_objects_are_no_weights_and_may_lie_beside_some(tmp_path):
    import numpy as np

    texts = np.array(["a", "bc"])
    torch.save({"model": {"weight": torch.ones(1, 2), "bias": torch.ones(1)}, "names": texts},
               tmp_path / "fine.pth")  # fmt: skip
    assert load_checkpoint(torch.nn.Linear(2, 1), tmp_path / "fine.pth").weight.sum() == 2
    torch.save({"model": {"weight": np.array([{}]), "bias": torch.ones(1)}}, tmp_path / "odd.pth")
    with pytest.raises(ValueError, match=r"model\.weight is an array of something else"):
        read_checkpoint(tmp_path / "odd.pth")


ROUTES = {
    "eval": ("eval", "--checkpoint", "W", "--recipe", "digits"),
    "predict": ("predict", "--checkpoint", "W", "--recipe", "digits", "a.png"),
    "detect": ("predict", "--checkpoint", "W", "--recipe", "digits-detection", "a.png"),
    "deit": ("predict", "--checkpoint", "W", "--recipe", "deit-tiny-imagenet", "a.png"),
    "vidt": ("predict", "--checkpoint", "W", "--recipe", "vidt-nano-coco", "a.png"),
    "generate": ("predict", "--checkpoint", "W", "--recipe", "gan-digits"),
    "export": ("export", "--checkpoint", "W", "--recipe", "digits", "out.pt2"),
    "teacher": ("train", "digits", "--teacher-checkpoint", "W", "--output", "run"),
    "student": ("train", "digits-teacher", "--student-checkpoint", "W", "--output", "run"),
    "body": ("train", "digits-detection-teacher", "--backbone-checkpoint", "W", "--output", "run"),
}


@pytest.mark.parametrize("route", ROUTES)
def test_weights_of_another_model_get_a_short_sentence_on_every_route(route, tmp_path, vkd):
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    long = "block.{}.a_name_that_is_as_long_as_names_of_parameters_are_in_transformers.weight"
    file = tmp_path / "weights.pth"
    torch.save({long.format(index): torch.ones(2) for index in range(500)}, file)
    done = vkd(*(file if word == "W" else word for word in ROUTES[route]), cwd=tmp_path)
    assert done.returncode == 2
    assert "weights.pth" in done.stderr
    assert (done.stderr.count("\n"), len(done.stderr) <= 306) == (1, True)


def test_a_misfit_names_counts_examples_and_shapes(tmp_path):
    other = create_model("cnn_digits", num_classes=7).state_dict()
    other["features.0.weight"] = torch.ones(2)
    save_file(other | {"more": torch.ones(1)}, tmp_path / "w.safetensors",
              {"architecture": "somebody's"})  # fmt: skip
    with pytest.raises(ValueError, match="does not fit") as error:
        create_model("conv_vit_digits", tmp_path / "w.safetensors")
    text = str(error.value)
    assert len(text) <= 300
    assert "its file names somebody's" in text
    assert "of another shape: head.weight (7, 128) for" in text
    assert text.count(" more") >= 2
