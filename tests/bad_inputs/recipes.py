"""Recipe files that are no recipes, or name what no task takes."""

import os
from functools import partial

from bad_inputs.table import Case

GOOD = "task: classification\ndataset: digits\nmethod: none\n"
_TRAIN = "train bad.yaml --output out"
# What a file holds, and words of the sentence beside the file's name.
CONTENTS = {
    "empty": ("", ("empty",)),
    "a comment": ("# nothing\n", ("empty",)),
    "a word": ("word\n", ("no recipe",)),
    "a list": ("- task: classification\n", ("no recipe",)),
    "two documents": (GOOD + "---\n" + GOOD, ("YAML",)),
    "task missing": ("dataset: digits\n", ("task",)),
    "task unknown": ("task: clasification\n", ("clasification", "classification")),
    "task a map": ("task: {a: 1}\n", ("task",)),
    "task a list": ("task: [classification]\n", ("task",)),
    "task null": ("task:\n", ("task",)),
    "number as key": (GOOD + "3: 4\n", ("line 4", "3")),
    "date as key": (GOOD + "2024-01-01: 4\n", ("line 4", "2024-01-01")),
    "map as key": (GOOD + "? {a: 1}\n: 4\n", ("line 4",)),
    "null as key": (GOOD + "~: 4\n", ("line 4",)),
    "duplicate key": (GOOD + "epochs: 3\nepochs: 4\n", ("line 5", "epochs")),
    "duplicate key within": (GOOD + "method_options: {a: 1, a: 2}\n", ("twice",)),
    "unknown field": (GOOD + "epoch: 3\n", ("'epoch'", "epochs")),
    "epochs a word": (GOOD + "epochs: many\n", ("line 4", "epochs", "many")),
    "epochs null": (GOOD + "epochs:\n", ("line 4", "epochs")),
    "epochs a list": (GOOD + "epochs: [1, 2]\n", ("line 4", "epochs")),
    "epochs a map": (GOOD + "epochs: {a: 1}\n", ("line 4", "epochs")),
    "epochs true": (GOOD + "epochs: true\n", ("line 4", "epochs", "true")),
    "epochs zero": (GOOD + "epochs: 0\n", ("line 4", "epochs")),
    "epochs huge": (GOOD + "epochs: 1" + "0" * 400 + "\n", ("epochs",)),
    "epochs hexadecimal": (GOOD + "epochs: 0xff\n", ("epochs", "0xff")),
    "lr inf": (GOOD + "lr: .inf\n", ("line 4", "lr")),
    "lr nan": (GOOD + "lr: .nan\n", ("line 4", "lr")),
    "lr 1e400": (GOOD + "lr: 1e400\n", ("line 4", "lr")),
    "lr a word": (GOOD + "lr: fast\n", ("line 4", "lr", "fast")),
    "lr negative": (GOOD + "lr: -1\n", ("line 4", "lr")),
    "seed negative": (GOOD + "seed: -1\n", ("line 4", "seed")),
    "seed of 65 bits": (GOOD + "seed: 18446744073709551616\n", ("line 4", "seed")),
    "workers huge": (GOOD + "workers: 100000\n", ("line 4", "workers")),
    "student null": ("task: classification\nmethod: none\nstudent:\n", ("line 3", "student")),
    "student a list": (GOOD + "student: [a, b]\n", ("line 4", "student")),
    "student of a zero byte": (GOOD + 'student: "a\\0b"\n', ("line 4", "student", "zero")),
    "data path of a zero byte": (GOOD + 'data_path: "a\\0b"\n', ("data_path", "zero")),
    "flip a word": (GOOD + "flip: sideways\n", ("line 4", "flip", "sideways")),
    "flip a number": (GOOD + "flip: 3\n", ("line 4", "flip")),
    "projection unknown": (GOOD + "projection: orthogonl\n", ("projection", "orthogonal")),
    "device unknown": (GOOD + "device: cpu:9\n", ("line 4", "device", "cpu:9")),
    "method unknown": ("task: classification\nmethod: vdk\n", ("method", "vdk")),
    "method options a list": (GOOD + "method_options: [1]\n", ("line 4", "method_options")),
    "objects a word": (GOOD + "objects: student\n", ("line 4", "objects")),
    "deep nesting": (GOOD + "method_options: " + "[" * 1500 + "]" * 1500, ("nested too deep",)),
    "deep maps": (GOOD + "method_options: " + "{a: " * 1500 + "1" + "}" * 1500, ("deep",)),
    "a bomb of aliases": (
        GOOD + "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
            f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n"
            for old, new in zip("abcdefgh", "bcdefghi", strict=True)
        ) + "epochs: *i\n", ("bad.yaml",),
    ),
    "an alias of nothing": (GOOD + "epochs: *nothing\n", ("nothing",)),
    "an alias of itself": (GOOD + "method_options: &a {a: *a}\n", ("bad.yaml",)),
    "a tag of Python": (GOOD + "lr: !!python/object/apply:os.getcwd []\n", ("bad.yaml",)),
    "a tag of our own": (GOOD + "lr: !rate 3\n", ("lr",)),
    "a tab": (GOOD + "\tepochs: 3\n", ("line",)),
    "no colon": (GOOD + "epochs 3\n", ("YAML",)),
    "an open quote": (GOOD + 'dataset: "digits\n', ("YAML",)),
    "an open bracket": (GOOD + "method_options: {a: 1\n", ("YAML",)),
    "teacher recipe names itself": (
        "task: classification\ndataset: digits\nteacher: conv_vit_digits\nfeature_weight: 1\n"
        "teacher_recipe: bad.yaml\n", ("teacher_recipe",),
    ),
    "binary": (bytes(range(256)), ("UTF-8",)),
    "UTF-16": (GOOD.encode("utf-16"), ("UTF-8",)),
    "Latin-1": ("# größer\n".encode("latin-1") + GOOD.encode(), ("UTF-8",)),
    "a zero byte": (GOOD.encode() + b"\0", ("YAML",)),
    "too large": (GOOD + "# " + "x" * 1_100_000, ("too large",)),
}  # fmt: skip
# Of other tasks.
OTHERS = {
    "teachers a word": ("task: embedding\nstudent: conv_vit_digits\nteachers: a\n", "teachers"),
    "teachers words": ("task: embedding\nstudent: conv_vit_digits\nteachers: [a]\n", "teachers"),
    "layers a list": ("task: embedding\nstudent: conv_vit_digits\nlayers: [a]\n", "layers"),
    "layer weights words": (
        "task: embedding\nstudent: conv_vit_digits\nlayers: {a: b}\nlayer_weights: {a: b}\n",
        "layer_weights",
    ),
    "short side huge": ("task: detection\nmethod: none\nshort_side: 100000\n", "short_side"),
    "student options a word": ("task: detection\nmethod: none\nstudent_options: a\n",
                               "student_options"),
    "samples null": ("task: generation\nmethod: none\nsamples:\n", "samples"),
    "fraction zero": ("task: generation\nmethod: none\nfraction: 0\n", "fraction"),
    "a field of another task": ("task: generation\nmethod: none\nshort_side: 3\n", "short_side"),
}  # fmt: skip


def written(content, folder):
    data = content if isinstance(content, bytes) else content.encode()
    (folder / "bad.yaml").write_bytes(data)


def made(kind, folder):
    file = folder / "bad.yaml"
    if kind == "folder":
        file.mkdir()
    elif kind == "fifo":
        os.mkfifo(file)
    elif kind == "nowhere":
        file.symlink_to("nothing.yaml")
    else:
        file.symlink_to("bad.yaml")


CASES = [
    *(
        Case(name, _TRAIN, ("bad.yaml", *words), make=partial(written, content))
        for name, (content, words) in CONTENTS.items()
    ),
    *(
        Case(name, _TRAIN, ("bad.yaml", word), make=partial(written, content))
        for name, (content, word) in OTHERS.items()
    ),
    *(
        Case(f"a {kind}", "train bad.yaml --output out", ("bad.yaml",), make=partial(made, kind))
        for kind in ("folder", "fifo", "nowhere", "link to itself")
    ),
    Case("not there", "train bad.yaml --output out", ("bad.yaml",)),
    Case("below a file", "train a.yaml/b.yaml", ("a.yaml/b.yaml",)),
    *(
        Case(
            f"{command.split()[0]}: {name}", command, ("bad.yaml", word),
            make=partial(written, CONTENTS[name][0]), needs=("student", "pictures"),
        )
        for command in (
            "eval --checkpoint student --recipe bad.yaml",
            "predict --checkpoint student --recipe bad.yaml pictures",
            "export --checkpoint student --recipe bad.yaml out.onnx",
            "bench --checkpoint student --recipe bad.yaml",
            "cache bad.yaml --output out",
            "compare bad.yaml --methods none --output out",
            "check --data-path pictures --recipe bad.yaml",
            "publish --checkpoint student --recipe bad.yaml --output out",
        )
        for name, word in (("epochs a word", "epochs"), ("UTF-16", "UTF-8"), ("a list", "recipe"))
    ),
]  # fmt: skip
