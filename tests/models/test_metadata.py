"""What a weights file says of itself is checked before anything is made of it."""

import json

import pytest
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
        '{"mean": [0], "std": [1], "size": "big"}',
    ],
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


def test_what_training_writes_is_right(digits_run):
    found = read_checkpoint(digits_run)
    assert found.classes == [str(digit) for digit in range(10)]
    assert found.recipe["task"] == "classification"
    assert json.loads(found.metadata["inputs"])["shape"] == [1, 8, 8]
