"""Stores of teacher outputs, read by training and completed by ``vkd cache``."""

import json

import torch
from safetensors.torch import load_file, save_file

from bad_inputs.made import as_folder, in_place_of, link, nested, pipe, text
from bad_inputs.table import Case
from vkd.store.rows import file_of, write_rows
from vkd.teacher import TeacherOutput

DESCRIPTION = {
    "images": 718, "views": 1, "seed": 0, "dtype": "float16",
    "classes": [str(digit) for digit in range(10)], "recipe": {}, "rows_per_file": 400,
    "top_k": 3,
}  # fmt: skip
ROWS = "store/rows-000000.safetensors"


def store(folder):
    """A whole store of digits, of no teacher in particular."""
    (folder / "store").mkdir()
    (folder / "store" / "store.json").write_text(json.dumps(DESCRIPTION))
    for number, count in enumerate((400, 318)):
        features, logits = torch.ones(count, 8), torch.arange(10.0).repeat(count, 1)
        outputs = TeacherOutput({"norm": features}, logits)
        write_rows(file_of(folder / "store", number), outputs, "float16", 3)


def case(name, change, *words):
    def make(folder):
        store(folder)
        change(folder)

    command = "train digits --teacher-store store --output run --device cpu"
    return Case(name, command, ("store", *words), (1, 2), make)


def described(name, value, *words):
    """The description with another value of a field."""
    field = name.split()[0]
    words = words or (field, "must be")
    return case(
        f"store.json {name}",
        text("store/store.json", json.dumps(DESCRIPTION | {field: value})),
        *words,
    )


def absent(field):
    content = {name: value for name, value in DESCRIPTION.items() if name != field}
    change = text("store/store.json", json.dumps(content))
    return case(f"store.json without {field}", change, field, "nothing")


def rows(name, change, *words):
    """The first file with other tensors or metadata."""

    def make(folder):
        file = folder / ROWS
        tensors = dict(load_file(file))
        mass = json.dumps({"mean": 1, "least": 1})
        metadata = {"layers": '["norm"]', "classes": "10", "kept_mass": mass}
        file.unlink()
        change(tensors, metadata)
        save_file(tensors, file, metadata)

    return case(f"rows {name}", make, "rows-000000", *words)


def flipped(folder):
    """A changed bit in the last row of the first file."""
    content = bytearray((folder / ROWS).read_bytes())
    content[-9] ^= 1
    (folder / ROWS).write_bytes(content)


def cut(folder):
    (folder / ROWS).write_bytes((folder / ROWS).read_bytes()[:-100])


CASES = [
    described("images a word", "many"),
    described("images null", None),
    described("images 0", 0),
    described("images 1.5", 1.5),
    described("images true", True),
    described("images 10^30", 10**30),
    described("views 10^12", 10**12, "incomplete"),
    described("views 10^18", 10**18, "below 2^63"),
    described("views a float", 1.0),
    described("views a list", [1]),
    described("seed -1", -1),
    described("seed NaN", float("nan")),
    described("dtype float64", "float64"),
    described("dtype a list", []),
    described("classes null", None),
    described("classes of numbers", [1, 2]),
    described("recipe a list", []),
    described("rows_per_file 0", 0),
    described("rows_per_file 1", 1, "incomplete", "718 files"),
    described("top_k -1", -1),
    described("top_k 2 where 3 are kept", 2, "rows-000000"),
    described("pairs a word", "yes"),
    described("pictures a list", []),
    described("pictures of other names", {"x": "y"}),
    described("teacher_weights a number", 5),
    described("unknown field", 1, "does not describe a store"),
    absent("images"),
    absent("classes"),
    case("store.json empty", text("store/store.json", ""), "store.json"),
    case("store.json binary", text("store/store.json", b"\xff\x00\x80"), "store.json"),
    case("store.json deep", text("store/store.json", nested(100_000)), "store.json"),
    case("store.json a list", text("store/store.json", "[]"), "store.json"),
    case("store.json a pipe", in_place_of("store/store.json", pipe("store/store.json")),
         "no store"),
    case("store.json a device",
         in_place_of("store/store.json", link("store/store.json", "/dev/zero")), "no store"),
    case("rows a text", text(ROWS, "hello"), "rows-000000"),
    case("rows empty", text(ROWS, b""), "rows-000000"),
    case("rows cut", cut, "rows-000000"),
    case("rows gone", lambda folder: (folder / ROWS).unlink(), "1 of 2 files are missing"),
    case("rows a folder", in_place_of(ROWS, as_folder(ROWS)), "rows-000000", "no file"),
    case("rows a pipe", in_place_of(ROWS, pipe(ROWS)), "rows-000000", "no file"),
    rows("too few", lambda t, m: t.update({n: v[:300] for n, v in t.items()}), "400"),
    rows("of one dimension", lambda t, m: t.update(features=torch.ones(400).half()), "400 rows"),
    rows("of three dimensions", lambda t, m: t.update(features=torch.ones(400, 2, 2).half())),
    rows("of unequal number", lambda t, m: t.update(logits=t["logits"][:5].clone()), "400"),
    rows("of another type", lambda t, m: t.update(features=t["features"].float()), "float16"),
    rows("without features", lambda t, m: t.pop("features"), "features"),
    rows("without checks of all", lambda t, m: t.update(checks=t["checks"][:3].clone()), "checks"),
    rows("layers no JSON", lambda t, m: m.update(layers="{"), "rows-000000"),
    rows("layers deep", lambda t, m: m.update(layers="[" * 9999), "rows-000000"),
    rows("layers twice", lambda t, m: m.update(layers='["a", "a"]'), "list of names"),
    rows("layers of numbers", lambda t, m: m.update(layers="[1]"), "list of names"),
    rows("classes -1", lambda t, m: m.update(classes="-1"), "-1"),
    rows("classes a word", lambda t, m: m.update(classes='"ten"'), "ten"),
    rows("classes true", lambda t, m: m.update(classes="true"), "True"),
    rows("kept_mass empty", lambda t, m: m.update(kept_mass="{}"), "mean"),
    rows("kept_mass 7", lambda t, m: m.update(kept_mass='{"mean": 7, "least": 1}'), "7"),
    Case("cache: a folder of something else",
         "cache digits --output store --teacher-checkpoint teacher",
         ("store", "no store"), make=text("store/x", "x"), needs=("teacher",)),
    Case("cache: views 10^12",
         "cache digits --flip true --views 1000000000000 --output store "
         "--teacher-checkpoint teacher",
         ("--views", "1,000,000"), make=lambda folder: None, needs=("teacher",)),
]  # fmt: skip
