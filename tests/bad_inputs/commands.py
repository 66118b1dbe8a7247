"""Flags and words of the commands that use, show or convert what was trained."""

import os
from functools import partial

import numpy as np
import torch
from PIL import Image

from bad_inputs.table import Case

HUGE = "100000000000"
RUNS = ("student", "detector", "gan", "embedding", "teacher", "pictures")
# By command, flags with values that are refused; each names the flag.
VALUES = {
    "eval --checkpoint student": {
        "--device": ("cpu:9", "foo", "cuda:7", "''"),
        "--batch-size": ("0", "-1", "nan", "1000000000000"),
        "--workers": ("-1", "1000000"),
        "--max-corrupt": ("-1",),
        "--dataset": ("digit",),
        "--predictions": ("out.json",),
        "--probe-path": ("pictures",),
        "--teacher-checkpoint": ("nowhere", "teacher"),
        "--epochs": ("3",),
    },
    "eval --checkpoint detector": {
        "--device": ("foo",),
        "--image-column": ("x",),
        "--teacher-checkpoint": ("nowhere",),
        "--batch-size": ("0",),
    },
    "eval --checkpoint embedding": {"--device": ("cpu:9",), "--predictions": ("out.json",)},
    "eval --checkpoint gan": {"--device": ("cpu:9",), "--workers": ("-1",)},
    "predict --checkpoint student pictures": {
        "--batch-size": ("0", "-1", "1000000000000", "word"),
        "--threshold": ("0.5",),
        "--count": ("3",),
        "--seed": ("1",),
        "--output": ("out.txt", "pictures"),
        "--device": ("cpu",),
    },
    "predict --checkpoint detector pictures": {
        "--threshold": ("2", "-1", "nan", "inf", "word"),
        "--batch-size": ("0", HUGE),
        "--classes": ("3",),
    },
    "predict --checkpoint gan": {
        "--count": ("0", "-1", HUGE, "word"),
        "--seed": ("-1", "18446744073709551616", "nan"),
        "--classes": ("12", "word", "3,,4"),
        "--threshold": ("0.5",),
        "--batch-size": ("3",),
    },
    "predict --checkpoint embedding pictures": {
        "--batch-size": ("0", HUGE),
        "--output": ("out.npz",),
        "--threshold": ("0.5",),
    },
    "search --checkpoint embedding --index pictures pictures/0.png": {
        "--count": ("0", "-1", HUGE),
        "--batch-size": ("0", HUGE),
        "--index-by": ("both",),
        "--teacher-checkpoint": ("teacher",),
        "--save-index": ("out.txt",),
        "--output": ("out.gif",),
    },
    "export --checkpoint student out.onnx": {
        "--height": ("-1", "1000000", "word"),
        "--width": ("-1", "nan"),
        "--calibration": ("pictures",),
        "--calibration-count": ("0", HUGE),
        "--evaluate": ("false", "perhaps"),
    },
    "export --checkpoint gan out.onnx": {"--height": ("64",), "--width": ("64",)},
    "bench --checkpoint student": {
        "--batch-sizes": ("0", "1,x", "''", "2000", "-1"),
        "--device": ("cpu:9", "foo", "''"),
        "--threads": ("-1", "1000000"),
        "--rounds": ("0", HUGE),
        "--seconds": ("-1", "nan", "inf"),
        "--height": ("-1", "1000000"),
        "--onnx": ("perhaps",),
    },
    "init --data-path pictures --teacher cnn_digits --student conv_vit_digits --output out.yaml": {
        "--epochs": ("0", "-1", "word"),
        "--batch-size": ("0", "-1", "1000000000000"),
        "--device": ("cpu:9", "foo"),
        "--workers": ("-1", "1000000"),
        "--seed": ("-1", "18446744073709551616"),
        "--input-size": ("0", "1000000"),
        "--task": ("segmentation",),
        "--validation-fraction": ("0", "nan"),
        "--dataset": ("folders",),
    },
    "check --data-path pictures": {
        "--samples": ("0", "-1", HUGE),
        "--dataset": ("folders",),
        "--validation-fraction": ("2", "nan"),
        "--max-corrupt": ("-1",),
    },
    "layers conv_vit_digits": {
        "--input-size": ("-1", "1000000", "7"),
        "--channels": ("-1", "1000000"),
    },
    "demo": {"--seeds": ("1", "-1", HUGE), "--epochs": ("-1", HUGE), "--grid": ("perhaps",)},
    "compare digits --methods vkd,none --teacher-checkpoint teacher --output out": {
        "--seeds": ("0", "-1", HUGE),
        "--processes": ("-1", "1000000"),
        "--tune-epochs": ("3",),
        "--reference": ("kd",),
        "--methods": ("vkd", "vkd,vdk", "''"),
        "--device": ("cpu:9",),
    },
    "cache digits --teacher-checkpoint teacher --output out": {
        "--views": ("-1", HUGE, "word"),
        "--top-k": ("-1", HUGE),
        "--dtype": ("int4",),
        "--device": ("foo",),
    },
    "publish --checkpoint student --output out": {
        "--repo-id": ("a/b/c", "''/x"),
    },
}  # fmt: skip


def _flags():
    for command, flags in VALUES.items():
        for flag, values in flags.items():
            for value in values:
                yield Case(
                    f"{command[:40]} {flag} {value[:30]}", f"{command} {flag}={value}", (flag,),
                    needs=RUNS,
                )  # fmt: skip


def picture(kind, folder):
    file = folder / "bad.png"
    if kind == "fifo":
        os.mkfifo(file)
    elif kind == "empty":
        file.write_bytes(b"")
    elif kind == "text":
        file.write_text("no picture")
    elif kind == "link to nowhere":
        file.symlink_to("nowhere.png")
    elif kind == "truncated":
        Image.fromarray(np.zeros((64, 64), np.uint8)).save(folder / "whole.png")
        file.write_bytes((folder / "whole.png").read_bytes()[:60])


def saved(content, folder):
    torch.save(content, folder / "bad.pth")


def text(name, content, folder):
    (folder / name).write_text(content)


_WORDS = [
    Case("eval without a checkpoint", "eval", ("--checkpoint",)),
    Case("eval a stray word", "eval student", ("--checkpoint",), needs=RUNS),
    Case("eval two words", "eval --checkpoint student more", ("more",), needs=RUNS),
    Case("eval nothing there", "eval --checkpoint nowhere", ("nowhere",)),
    Case("eval 300 letters", f"eval --checkpoint {'x' * 300}", ("xxx",)),
    Case("eval a folder of pictures", "eval --checkpoint pictures", ("pictures",), needs=RUNS),
    Case("eval a picture", "eval --checkpoint pictures/0.png", ("0.png",), needs=RUNS),
    Case("eval /dev/null", "eval --checkpoint /dev/null", ("/dev/null",)),
    Case("eval /proc", "eval --checkpoint /proc", ("/proc",)),
    Case("eval by another task's recipe", "eval --checkpoint student --recipe digits-detection",
         ("student",), needs=RUNS),
    Case("eval by a generator's recipe", "eval --checkpoint student --recipe gan-digits",
         ("student",), needs=RUNS),
    Case("eval by another model's recipe", "eval --checkpoint student --recipe digits-teacher",
         ("student",), needs=RUNS),
    Case("eval another student", "eval --checkpoint student --student resnet18", ("student",),
         needs=RUNS),
    Case("predict a detector as a classifier", "predict --checkpoint detector --recipe digits "
         "pictures", ("detector",), needs=RUNS),
    Case("predict a classifier as a detector", "predict --checkpoint student --recipe "
         "digits-detection pictures", ("student",), needs=RUNS),
    Case("predict a classifier as a generator", "predict --checkpoint student --recipe gan-digits "
         "--output out.png", ("student",), needs=RUNS),
    Case("predict no image", "predict --checkpoint student", ("IMAGE",), needs=RUNS),
    Case("predict nothing there", "predict --checkpoint student nowhere.png", ("nowhere.png",),
         needs=RUNS),
    Case("predict no match", "predict --checkpoint student 'pictures/*.gif'", ("*.gif",),
         needs=RUNS),
    Case("predict an empty folder", "predict --checkpoint student empty", ("empty",), needs=RUNS,
         make=lambda folder: (folder / "empty").mkdir()),
    Case("predict images for a generator", "predict --checkpoint gan pictures --output out",
         ("IMAGE",), needs=RUNS),
    *(
        Case(f"predict a picture: {kind}", f"predict --checkpoint {run} bad.png", ("bad.png",),
             make=partial(picture, kind), needs=RUNS)
        for kind in ("fifo", "empty", "text", "link to nowhere", "truncated")
        for run in ("student", "detector", "embedding")
    ),
    Case("search without an index", "search --checkpoint embedding pictures", ("--index",),
         needs=RUNS),
    Case("search with a classifier", "search --checkpoint student --index pictures pictures",
         ("student", "classification"), needs=RUNS),
    Case("search an index that is text", "search --checkpoint embedding --index bad.npy pictures",
         ("bad.npy",), make=partial(text, "bad.npy", "no array"), needs=RUNS),
    Case("search nowhere", "search --checkpoint embedding --index nowhere pictures",
         ("--index", "nowhere"), needs=RUNS),
    Case("search for nothing", "search --checkpoint embedding --index pictures nowhere.png",
         ("nowhere.png",), needs=RUNS),
    Case("export without OUT", "export --checkpoint student", ("OUT",), needs=RUNS),
    Case("export as text", "export --checkpoint student out.txt", ("OUT", "out.txt"), needs=RUNS),
    Case("export a picture", "export --checkpoint pictures/0.png out.onnx", ("0.png",),
         needs=RUNS),
    Case("export by no pictures", "export --checkpoint student --pictures nowhere out.onnx",
         ("nowhere",), needs=RUNS),
    Case("export 8 bits as a program", "export --checkpoint student --int8 out.pt2", ("--int8",),
         needs=RUNS),
    Case("export a generator in 8 bits", "export --checkpoint gan --int8 out.onnx", ("--int8",),
         needs=RUNS),
    Case("bench against nothing", "bench --checkpoint student --onnx false --against nowhere",
         ("nowhere",), needs=RUNS),
    Case("bench a file, saved", "bench --checkpoint student/model.safetensors --save", ("--save",),
         needs=RUNS),
    Case("convert one word", "convert in.pth", ("OUT",)),
    Case("convert nothing", "convert", ("IN",)),
    Case("convert three words", "convert a b c.safetensors", ("c.safetensors",)),
    Case("convert nowhere", "convert nowhere.pth out.safetensors", ("nowhere.pth",)),
    Case("convert to text", "convert student/model.safetensors out.txt", ("OUT",), needs=RUNS),
    Case("convert a picture", "convert pictures/0.png out.safetensors", ("0.png",), needs=RUNS),
    Case("convert text", "convert bad.pth out.safetensors", ("bad.pth",),
         make=partial(text, "bad.pth", "no weights")),
    *(
        Case(f"convert {name}", "convert bad.pth out.safetensors", ("bad.pth",),
             make=partial(saved, content))
        for name, content in {
            "a list": [torch.ones(2)], "a number": 3, "nothing": {},
            "numbers as keys": {0: torch.ones(2)}, "text for a tensor": {"head.weight": "text"},
            "complex numbers": {"head.weight": torch.ones(2, dtype=torch.complex64)},
            "a meta tensor": {"head.weight": torch.ones(2, device="meta")},
            "a sparse tensor": {"head.weight": torch.eye(2).to_sparse()},
            "expanded": {"head.weight": torch.ones(1, 192).expand(10**10, 192)},
        }.items()
    ),
    Case("report nothing", "report", ("RUN",)),
    Case("report nowhere", "report nowhere", ("nowhere",)),
    Case("report pictures", "report pictures", ("pictures",), needs=RUNS),
    Case("report a file", "report student/recipe.yaml", ("recipe.yaml",), needs=RUNS),
    Case("layers of nothing", "layers", ("NAME",)),
    Case("layers of an unknown model", "layers conv_vit_digit", ("did you mean conv_vit_digits?",)),
    Case("layers of 5000 letters", f"layers {'x' * 5000}", ("xxx",)),
    Case("layers of a file that is none", "layers nowhere.py:network", ("nowhere.py",)),
    Case("models with a word", "models resnet", ("resnet",)),
    Case("models with a flag", "models --tim", ("--tim", "--timm")),
    Case("recipes with a word", "recipes digits", ("digits",)),
    Case("demo of nothing", "demo detection", ("WHAT", "detection")),
    Case("demo of embedding with a grid", "demo embedding --grid true", ("--grid",)),
    Case("check nothing", "check", ("--data-path",)),
    Case("check nowhere", "check --data-path nowhere", ("nowhere",)),
    Case("check a picture", "check --data-path pictures/0.png", ("0.png",), needs=RUNS),
    Case("check by an unknown recipe", "check --data-path pictures --recipe digit", ("digit",),
         needs=RUNS),
    Case("init nothing", "init", ("--data-path",)),
    Case("init nowhere", "init --data-path nowhere --teacher resnet18 --student resnet18",
         ("nowhere",)),
    Case("init an unknown teacher", "init --data-path pictures --teacher resnt18 --student "
         "resnet18", ("resnt18",), needs=RUNS),
    Case("publish nowhere", "publish --checkpoint nowhere --output out", ("nowhere",)),
    Case("publish to no place", "publish --checkpoint student", ("--output",), needs=RUNS),
    Case("publish a closed folder", "publish --checkpoint student --private --output out",
         ("--private",), needs=RUNS),
    Case("publish a title of bytes", "publish --checkpoint student --output out --title '\udcff'",
         ("UTF-8", "udcff"), needs=RUNS),
    Case("publish into a run", "publish --checkpoint student --output teacher",
         ("--output", "teacher"), needs=RUNS),
    Case("publish into pictures", "publish --checkpoint student --output pictures",
         ("--output", "pictures"), needs=RUNS),
    Case("completion of no shell", "completion dos", ("dos",)),
    Case("compare no methods", "compare digits", ("--methods",)),
    Case("cache of detectors", "cache digits-detection", ("detection",)),
    Case("cache without a teacher", "cache digits --teacher= --output out", ("--teacher",)),
]  # fmt: skip
CASES = [*_flags(), *_WORDS]
