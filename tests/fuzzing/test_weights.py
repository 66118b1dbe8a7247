"""What safetensors say of themselves, and their bytes."""

import json

import pytest
import torch
from hypothesis import example, given
from safetensors.torch import save

from fuzzing.mutations import damaged, dumped, mutated
from fuzzing.reading import answer_of, fuzzed
from vkd.classification.inference import input_format
from vkd.models.checkpoints import read_checkpoint
from vkd.recipe import saved_config

METADATA = {
    "recipe": {"task": "classification", "student": "resnet10t", "dataset": "digits", "lr": 0.1},
    "classes": ["cat", "dog"],
    "inputs": {"mean": [0.5], "std": [0.5], "shape": [1, 8, 8], "crop": 1.0,
               "interpolation": "bicubic"},
    "categories": {"ids": [1, 2], "names": ["cat", "dog"]},
    "options": {"depth": 2, "sizes": [1, 2]},
    "cost": {"parameters": 12, "macs": 3.0},
    "versions": {"vkd": "1", "torch": "2"},
    "takes": {"images": {"shape": [1, 1, 8, 8], "dtype": "float32"}},
    "gives": ["logits"],
    "architecture": "resnet10t",
}  # fmt: skip
TENSORS = {"fc.weight": torch.zeros(2, 3), "fc.bias": torch.zeros(2)}
VALID = save(TENSORS, {name: json.dumps(value) for name, value in METADATA.items()})


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("weights") / "model.safetensors"


def told(file):
    """All that a file says of itself."""
    checkpoint = read_checkpoint(file)
    found = [checkpoint.classes, checkpoint.inputs, checkpoint.model_name, checkpoint.options]
    if checkpoint.recipe:
        config = saved_config(checkpoint.recipe)
        if config.task == "classification":
            found.append(input_format(config, checkpoint))
    return found


@fuzzed(300)
@given(mutated(METADATA))
@example({"recipe": {"task": "classification", "lr": float("nan")}})
@example({"inputs": {"mean": [10**400], "std": [1]}})
def test_metadata_are_read_or_refused_in_a_sentence(file, metadata):
    entries = metadata if isinstance(metadata, dict) else {"recipe": metadata}
    texts = {
        name.encode(errors="replace").decode(): dumped(value).decode(errors="replace")
        for name, value in entries.items()
    }
    file.write_bytes(save(TENSORS, texts))
    answer_of(lambda: told(file))


@fuzzed(150)
@given(damaged(VALID))
def test_damaged_files_are_read_or_refused_in_a_sentence(file, content):
    file.write_bytes(content)
    answer_of(lambda: told(file))
