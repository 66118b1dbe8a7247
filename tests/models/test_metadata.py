"""What a weights file says of itself is checked before anything is made of it."""

import json

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from vkd.errors import UserError
from vkd.models.checkpoints import read_checkpoint

WRONG = {
    "recipe": ["{", "[]", "7", '"digits"', '{"task": {}}', '{"seed": 1}', "[" * 100_000],
    "classes": ["[1", "7", "{}", '"a"', "[1, 2]", "null"],
    "inputs": [
        "{", "[]", "7", '{"image_size": -5}', '{"mean": [0.5], "std": [0]}',
        '{"mean": [0.5], "std": [0.5, 0.5]}', '{"mean": ["a"], "std": [1]}',
        '{"mean": [NaN], "std": [1]}', '{"mean": [0], "std": [1], "shape": [1, -8, 8]}',
        '{"mean": [0], "std": [1], "shape": [1, 8, 1000000]}',
        '{"mean": [0], "std": [1], "size": "big"}', '{"mean": [0], "std": [1], "size": [8]}',
        '{"mean": [0], "std": [1], "shape": [8, 8]}',
        '{"mean": [0], "std": [1], "shape": [3, 8, 8]}',
        '{"mean": [0], "std": [1], "crop": 0}', '{"mean": [0], "std": [1], "crop": "half"}',
        '{"mean": [0], "std": [1], "interpolation": "sharp"}',
        '{"mean": [0], "std": [1], "short_side": -1}',
        '{"mean": [0], "std": [1], "long_side": 1.5}',
    ],
    "versions": ["[]", '"1.0"', '{"vkd": 1}'],
    "categories": ["[]", "{}", '{"ids": [1], "names": []}', '{"ids": ["a"], "names": ["a"]}'],
}  # fmt: skip


@pytest.mark.parametrize(("entry", "text"), [(e, t) for e, texts in WRONG.items() for t in texts])
def test_what_has_no_meaning_is_refused_by_file_and_entry(digits_run, tmp_path, vkd, entry, text):
    source = digits_run / "model.safetensors"
    with safe_open(source, "pt") as opened:
        metadata = opened.metadata()
    file = tmp_path / "model.safetensors"
    save_file(load_file(source), file, metadata | {entry: text})
    with pytest.raises(UserError, match=f"metadata {entry}") as error:
        read_checkpoint(file)
    assert str(file) in str(error.value)
    assert len(str(error.value)) < 300 + len(str(file))
    done = vkd("eval", "--checkpoint", file, "--device", "cpu")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"task": "unknown"}, "task must be one of classification"),
        ({"task": "classification", "no_such_field": 3}, "no_such_field"),
        ({"task": "classification", "epochs": "many"}, "epochs"),
        ({"task": "classification", "lr": [1]}, "lr"),
        ({"task": "classification", "x" * 5000: 1}, "xxx"),
    ],
)
def test_a_recipe_of_other_fields_is_refused_by_file_and_field(
    digits_run, tmp_path, vkd, fields, word
):
    source = digits_run / "model.safetensors"
    with safe_open(source, "pt") as opened:
        metadata = opened.metadata()
    file = tmp_path / "model.safetensors"
    save_file(load_file(source), file, metadata | {"recipe": json.dumps(fields)})
    done = vkd("eval", "--checkpoint", file, "--device", "cpu")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "/model.safetensors: its metadata recipe cannot be used" in done.stderr
    assert word in done.stderr
    assert len(done.stderr) <= 306


@pytest.mark.parametrize("run", ["digits_run", "gan_run"])
def test_every_run_says_its_model_and_versions(run, request):
    found = read_checkpoint(request.getfixturevalue(run))
    assert found.model_name == found.recipe["student"]
    versions = json.loads(found.metadata["versions"])
    assert set(versions) == {"vkd", "torch", "timm"}
    assert versions["torch"] == torch.__version__


def test_what_training_writes_is_right(digits_run):
    found = read_checkpoint(digits_run)
    assert found.classes == [str(digit) for digit in range(10)]
    assert found.recipe["task"] == "classification"
    assert json.loads(found.metadata["inputs"])["shape"] == [1, 8, 8]


@pytest.mark.parametrize("run", ["digits_run", "gan_run"])
def test_names_of_other_numbers_than_the_weights_have_are_refused(run, request, tmp_path, vkd):
    source = request.getfixturevalue(run) / "model.safetensors"
    with safe_open(source, "pt") as opened:
        metadata = opened.metadata()
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    pictures = [tmp_path / "a.png"] if run == "digits_run" else []
    for names in (["a"], [str(index) for index in range(11)]):
        file = tmp_path / "model.safetensors"
        changed = metadata | {"classes": json.dumps(names)}
        save_file(load_file(source), file, changed)
        done = vkd("predict", "--checkpoint", file, *pictures, cwd=tmp_path)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert str(file) in done.stderr


@pytest.mark.parametrize(
    "inputs",
    [
        "{}",
        '{"mean": [0.5], "std": [0.5]}',
        '{"mean": [0.5], "std": [0.5], "size": [9, 9]}',
        '{"mean": [0.5, 0.5], "std": [0.5, 1], "size": [8, 8]}',
    ],
)
def test_a_file_whose_model_takes_other_images_is_refused(digits_run, tmp_path, vkd, inputs):
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    with safe_open(digits_run / "model.safetensors", "pt") as opened:
        metadata = opened.metadata() | {"inputs": inputs}
    file = tmp_path / "model.safetensors"
    save_file(load_file(digits_run / "model.safetensors"), file, metadata)
    done = vkd("predict", "--checkpoint", file, tmp_path / "a.png")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert f"{file}: its model does not take images" in done.stderr
