"""Run folders of which a page is made."""

import json

import torch
from safetensors.torch import save

from bad_inputs.made import (
    as_folder,
    every,
    in_place_of,
    link,
    nested,
    picture,
    pipe,
    png,
    text,
)  # fmt: skip
from bad_inputs.table import Case
from fuzzing.test_run_folders import FINDINGS, RECORD, SIMILARITY, SPEED, lines, write_run

GOOD = lines(RECORD)


def case(name, change, *words, file=""):
    def make(folder):
        write_run(folder / "run")
        change(folder)

    return Case(name, "report run --output page.html", (file, *words), make=make)


def metrics(name, content, *words):
    file = "metrics.jsonl"
    return case(f"{file}: {name}", text(f"run/{file}", content), *words, file=file)


def record(name, *words, **changes):
    return metrics(name, lines(RECORD | changes), "line 1", *words)


def changed(file, content, path, value, *words):
    """A JSON file with another value."""
    tree = json.loads(json.dumps(content))
    at = tree
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    name = f"{file}: {'.'.join(map(str, path))} {str(value)[:20]}"
    return case(name, text(f"run/{file}", json.dumps(tree)), "damaged", *words, file=file)


def projection(name, content):
    file = "projection.safetensors"
    return case(f"{file}: {name}", text(f"run/{file}", content), "damaged", file=file)


FOUND, SAMPLE = "findings/findings.json", "run/samples/epoch-00001.png"
CASES = [
    case("metrics.jsonl: empty", text("run/metrics.jsonl", b""), "no finished epoch"),
    metrics("garbage", b"garbage\n" + GOOD, "line 1", "no JSON"),
    metrics("garbage that ends in a brace", b"garbage}\n" + GOOD, "line 1"),
    metrics("binary", b"\xff\x00\x80", "UTF-8"),
    metrics("a list", b"[]\n", "line 1", "no JSON object"),
    metrics("a number in braces", b"{5}\n" + GOOD, "line 1"),
    metrics("deep", nested(100_000) + b"\n" + GOOD, "line 1"),
    metrics("a hole in the middle", GOOD + b"\n" + GOOD, "line 2"),
    metrics("a number of 5000 digits", GOOD + b'{"epoch": ' + b"1" * 5000 + b"}\n" + GOOD,
         "line 2"),
    record("seconds missing", "seconds", seconds=None),
    record("seconds a word", "seconds", seconds="long"),
    record("seconds infinite", "seconds", seconds=float("inf")),
    record("seconds 10^400", "seconds", seconds=10**400),
    record("epoch a word", "epoch", "'two'", epoch="two"),
    record("epoch true", "epoch", epoch=True),
    record("epoch NaN", "epoch", epoch=float("nan")),
    record("epoch infinite", "epoch", epoch=float("inf")),
    record("epoch -1", "epoch", "-1", epoch=-1),
    record("epoch 10^30", "epoch", epoch=10**30),
    record("validation a number", "validation", validation=5),
    record("metric a word", "validation", validation={"accuracy": "good"}),
    record("metric null", "validation", validation={"accuracy": None}),
    record("metric 10^400", "validation", validation={"accuracy": 10**400}),
    record("losses a list", "train", train=[1]),
    case("metrics.jsonl: a pipe",
         in_place_of("run/metrics.jsonl", pipe("run/metrics.jsonl")), "no metrics.jsonl"),
    case("metrics.jsonl: a folder",
         in_place_of("run/metrics.jsonl", as_folder("run/metrics.jsonl")), "no metrics.jsonl"),
    case("metrics.jsonl: a device",
         in_place_of("run/metrics.jsonl", link("run/metrics.jsonl", "/dev/zero")), "no metrics"),
    case("steps.jsonl: terms a word", text("run/steps.jsonl", '{"update": 1, "terms": "x"}\n'),
         "line 1", "terms", file="steps.jsonl"),
    case("steps.jsonl: update a word", text("run/steps.jsonl", '{"update": "x"}\n'),
         "line 1", "update", file="steps.jsonl"),
    case("steps.jsonl: binary", text("run/steps.jsonl", b"\xff"), "UTF-8", file="steps.jsonl"),
    case("recipe.yaml binary", text("run/recipe.yaml", b"\xff"), "UTF-8", file="recipe.yaml"),
    case("recipe.yaml a pipe", in_place_of("run/recipe.yaml", pipe("run/recipe.yaml")),
         "no file", file="recipe.yaml"),
    case("notes.txt binary", text("run/notes.txt", b"\xff"), "UTF-8", file="notes.txt"),
    projection("empty", b""),
    projection("garbage", b"garbage"),
    projection("without weights", save({})),
    projection("of NaN", save({"weight": torch.full((4, 3), float("nan"))})),
    projection("of whole numbers", save({"weight": torch.ones(4, 3, dtype=torch.int64)})),
    projection("of truth values", save({"weight": torch.ones(4, 3, dtype=torch.bool)})),
    projection("of one dimension", save({"weight": torch.ones(4)})),
    projection("of nothing", save({"weight": torch.ones(0, 3)})),
    case("a sample a text", text(SAMPLE, "hello"), "not an image", file="epoch-00001.png"),
    case("a sample a pipe", in_place_of(SAMPLE, pipe(SAMPLE)), "no file", file="epoch-00001.png"),
    case("a sample a bomb", text(SAMPLE, png(30000, 30000)), "30000 x 30000"),
    case("a sample a folder", in_place_of(SAMPLE, as_folder(SAMPLE)), "a folder"),
    changed(FOUND, FINDINGS, [0, "kind"], "Video", "unknown kind"),
    changed(FOUND, FINDINGS, [1, "rows"], 5),
    changed(FOUND, FINDINGS, [1, "rows", 0], ["one"], "row"),
    changed(FOUND, FINDINGS, [2, "counts", 0, 0], -5, "-5"),
    changed(FOUND, FINDINGS, [2, "counts", 0, 0], float("inf"), "inf"),
    changed(FOUND, FINDINGS, [2, "names"], ["a"], "as many rows"),
    changed(FOUND, FINDINGS, [3, "series", "a", 0, 0], float("nan"), "nan"),
    changed(FOUND, FINDINGS, [3, "series", "a", 0, 0], 10**400),
    changed(FOUND, FINDINGS, [3, "series", "a"], [[1], [1, 2]], "as many x as y"),
    changed(FOUND, FINDINGS, [4, "pictures", 0], {}, "file"),
    changed(FOUND, FINDINGS, [5, "rows", 0], [], "empty"),
    case(f"{FOUND}: a map", text(f"run/{FOUND}", "{}"), "damaged", file="findings.json"),
    case(f"{FOUND}: deep", text(f"run/{FOUND}", nested(100_000)), "damaged", file="findings.json"),
    case("a finding's picture a pipe",
         in_place_of("run/findings/0000.png", pipe("run/findings/0000.png")), "no file"),
    case("a finding's picture a bomb", text("run/findings/0000.png", png(30000, 30000)), "30000"),
    case("a finding's picture large",
         lambda folder: picture(folder / "run/findings/0000.png", (1100, 1100)), "1100 x 1100"),
    changed("similarity-after.json", SIMILARITY, ["found"], 5),
    changed("similarity-after.json", SIMILARITY, ["found", 0, "cka"], "high"),
    changed("similarity-after.json", SIMILARITY, ["found", 0, "cka"], 10**400),
    changed("similarity-after.json", SIMILARITY, ["found", 0, "width"], float("inf")),
    changed("bench.json", SPEED, ["timings"], None),
    changed("bench.json", SPEED, ["timings", 0, "batch_size"], float("inf")),
    changed("bench.json", SPEED, ["timings", 0, "latency_ms", "median"], "fast"),
    case("bench.json: a list", text("run/bench.json", "[]"), "damaged", file="bench.json"),
    Case("two runs, one damaged", "report one two --output page.html", ("two", "metrics.jsonl"),
         make=every(lambda folder: write_run(folder / "one"), as_folder("two"))),
]  # fmt: skip
