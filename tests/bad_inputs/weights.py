"""Weights files that are damaged, or say of themselves what has no meaning."""

import json
import os
import struct
from functools import partial

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from bad_inputs.table import Case

DEEP = "[" * 5000 + "]" * 5000
_RECIPE = {"task": "classification", "dataset": "digits", "method": "none"}
# Entries of a classifier's metadata, and a word of the sentence beside the file's name.
METADATA = {
    "recipe no JSON": ({"recipe": "{"}, "recipe"),
    "recipe a list": ({"recipe": "[1]"}, "recipe"),
    "recipe a number": ({"recipe": "3"}, "recipe"),
    "recipe deep": ({"recipe": DEEP}, "recipe"),
    "recipe of no task": ({"recipe": '{"epochs": 3}'}, "task"),
    "recipe of an unknown task": ({"recipe": '{"task": "segmentation"}'}, "segmentation"),
    "recipe of a task that is a list": ({"recipe": '{"task": ["classification"]}'}, "task"),
    "recipe with an unknown field": ({"recipe": json.dumps(_RECIPE | {"epoch": 3})}, "epoch"),
    "recipe with a word for a number": ({"recipe": json.dumps(_RECIPE | {"lr": "fast"})}, "lr"),
    "recipe with NaN": ({"recipe": json.dumps(_RECIPE | {"lr": float("nan")})}, "lr"),
    "recipe with a list": ({"recipe": json.dumps(_RECIPE | {"student": ["a"]})}, "student"),
    "recipe with a negative seed": ({"recipe": json.dumps(_RECIPE | {"seed": -1})}, "seed"),
    "recipe with a foreign device": ({"recipe": json.dumps(_RECIPE | {"device": "x"})}, "device"),
    "inputs no JSON": ({"inputs": "mean"}, "inputs"),
    "inputs a list": ({"inputs": "[0.5]"}, "inputs"),
    "inputs without std": ({"inputs": '{"mean": [0.5]}'}, "inputs"),
    "inputs of std 0": ({"inputs": '{"mean": [0.5], "std": [0]}'}, "inputs"),
    "inputs NaN": ({"inputs": '{"mean": [NaN], "std": [1]}'}, "inputs"),
    "inputs of words": ({"inputs": '{"mean": ["a"], "std": ["b"]}'}, "inputs"),
    "inputs huge": ({"inputs": '{"mean": [0], "std": [1], "size": [1000000, 8]}'}, "inputs"),
    "inputs negative": ({"inputs": '{"mean": [0], "std": [1], "size": [-8, 8]}'}, "inputs"),
    "inputs of another shape": (
        {"inputs": '{"mean": [0], "std": [1], "shape": [3, 8, 8]}'}, "inputs"
    ),
    "inputs of an odd crop": ({"inputs": '{"mean": [0], "std": [1], "crop": 7}'}, "inputs"),
    "inputs interpolated oddly": (
        {"inputs": '{"mean": [0], "std": [1], "interpolation": "magic"}'}, "inputs"
    ),
    "classes no JSON": ({"classes": "cat, dog"}, "classes"),
    "classes too few": ({"classes": '["cat"]'}, "head"),
    "classes a number": ({"classes": "10"}, "classes"),
    "classes numbers": ({"classes": "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]"}, "classes"),
    "options a list": ({"options": "[1]"}, "options"),
    "options nested": ({"options": '{"a": {"b": 1}}'}, "options"),
    "cost words": ({"cost": '{"parameters": "many"}'}, "cost"),
    "versions a list": ({"versions": "[1]"}, "versions"),
    "categories of other lengths": ({"categories": '{"ids": [1], "names": []}'}, "categories"),
    "categories words": ({"categories": '{"ids": ["a"], "names": ["b"]}'}, "categories"),
}  # fmt: skip


def rewritten(name, changes, folder):
    """``bad.safetensors`` is a run's weights with other metadata."""
    with safe_open(folder / name / "model.safetensors", framework="pt") as opened:
        metadata = dict(opened.metadata())
        tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
    save_file(tensors, folder / "bad.safetensors", metadata | changes)


def damaged(kind, folder):
    whole = (folder / "student" / "model.safetensors").read_bytes()
    contents = {
        "empty": b"",
        "cut within its header": whole[:100],
        "cut": whole[: len(whole) // 2],
        "longer": whole + b"more",
        "text": b"no weights\n" * 99,
        "header of 2^62 bytes": struct.pack("<Q", 2**62) + whole[8:],
        "header deep": struct.pack("<Q", len(DEEP)) + DEEP.encode(),
        "header no JSON": struct.pack("<Q", 8) + b"not json",
        "header without tensors": struct.pack("<Q", 2) + b"{}",
        "header a list": struct.pack("<Q", 2) + b"[]",
    }
    (folder / "bad.safetensors").write_bytes(contents[kind])


DAMAGES = (
    "empty", "cut within its header", "cut", "longer", "text", "header of 2^62 bytes",
    "header deep", "header no JSON", "header without tensors", "header a list",
)  # fmt: skip


def tensors_of(tensors, folder):
    metadata = {"recipe": json.dumps(_RECIPE), "architecture": "conv_vit_digits"}
    save_file(tensors, folder / "bad.safetensors", metadata)


TENSORS = {
    "one odd tensor": {"w": torch.ones(2)},
    "3000 odd tensors": {f"some.layer.{number}.weight": torch.ones(1) for number in range(3000)},
    "a name of 5000 letters": {"x" * 5000: torch.ones(1)},
    "a tensor without numbers": {"head.weight": torch.ones(0, 4)},
    "whole numbers": {"head.weight": torch.ones(10, 64).long()},
}


def place(kind, folder):
    file = folder / "bad.safetensors"
    if kind == "folder":
        file.mkdir()
    elif kind == "fifo":
        os.mkfifo(file)
    elif kind == "link to nowhere":
        file.symlink_to("nowhere")
    else:
        file.symlink_to("bad.safetensors")


_READERS = {
    "predict": "predict --checkpoint bad.safetensors pictures",
    "eval": "eval --checkpoint bad.safetensors",
    "export": "export --checkpoint bad.safetensors out.onnx",
    "bench": "bench --checkpoint bad.safetensors",
    "publish": "publish --checkpoint bad.safetensors --output out",
    "convert": "convert bad.safetensors out.safetensors",
    "train from it": "train digits --teacher-checkpoint bad.safetensors --output out",
}
_PREDICT = _READERS["predict"]
_NEEDS = ("student", "pictures")
CASES = [
    *(
        Case(
            name, _PREDICT, ("bad.safetensors", word),
            make=partial(rewritten, "student", changes), needs=_NEEDS,
        )
        for name, (changes, word) in METADATA.items()
    ),
    *(
        Case(name, _PREDICT, ("bad.safetensors",), make=partial(damaged, name), needs=_NEEDS)
        for name in DAMAGES
    ),
    *(
        Case(f"{reader}: cut", command, ("bad.safetensors",), make=partial(damaged, "cut"),
             needs=_NEEDS)
        for reader, command in _READERS.items()
    ),
    *(
        Case(f"{reader}: {kind}", command, ("bad.safetensors",), make=partial(place, kind),
             needs=_NEEDS)
        for reader, command in _READERS.items()
        for kind in ("folder", "fifo", "link to nowhere", "link to itself")
    ),
    *(
        Case(
            f"{reader}: inputs no JSON", command, ("bad.safetensors", "inputs"),
            make=partial(rewritten, "student", {"inputs": "{"}), needs=_NEEDS,
        )
        for reader, command in _READERS.items()
    ),
    *(
        Case(name, _PREDICT, ("bad.safetensors",), make=partial(tensors_of, tensors), needs=_NEEDS)
        for name, tensors in TENSORS.items()
    ),
    *(
        Case(
            f"a {run} with {name}", f"predict --checkpoint bad.safetensors {rest}",
            ("bad.safetensors", *changes), make=partial(rewritten, run, changes),
            needs=(run, "pictures"),
        )
        for run, rest, name, changes in (
            ("detector", "pictures", "categories of one", {
                "categories": '{"ids": [1], "names": ["a"]}'}),
            ("detector", "pictures", "inputs of one channel", {"inputs": '{"mean": [0]}'}),
            ("detector", "pictures", "options of words", {"options": "words"}),
            ("gan", "--output out.png", "classes too many", {"classes": json.dumps(["a"] * 99)}),
            ("gan", "--output out.png", "recipe a list", {"recipe": "[]"}),
            ("embedding", "pictures", "inputs huge", {
                "inputs": '{"mean": [0], "std": [1], "size": [8, 1000000]}'}),
            ("embedding", "pictures", "recipe without a task", {"recipe": '{"a": 1}'}),
        )
    ),
]  # fmt: skip
