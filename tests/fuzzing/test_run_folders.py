"""The records of a run folder, and the page that is made of them."""

import json

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save

from fuzzing.mutations import damaged, dumped, files, json_files, mutated
from fuzzing.reading import answer_of, fuzzed
from vkd.reporting.report import write_report
from vkd.training.records import read_metrics

RECORD = {
    "epoch": 1, "lr": 0.1, "seconds": 2.5, "images_per_second": 100.0, "waiting": 0.1,
    "train": {"loss": 1.5, "vkd": 0.5}, "validation": {"accuracy": 50.0},
}  # fmt: skip
STEP = {
    "update": 50, "terms": {"loss": 1.0}, "lr": 0.1, "gradient_norm": 2.0,
    "images_per_second": 10.0, "waiting": 0.1, "memory_gb": 1.0,
}  # fmt: skip
PICTURE = {"file": "0000.png", "caption": "a cat"}
FINDINGS = [
    {"kind": "Absent", "title": "a", "text": "none"},
    {"kind": "Table", "title": "b", "text": "", "header": ["x", "y"], "rows": [["1", "2"]]},
    {"kind": "Matrix", "title": "c", "text": "", "row": "r", "column": "c", "names": ["a", "b"],
     "counts": [[1, 2], [3, 4]]},
    {"kind": "Lines", "title": "d", "text": "", "x": "x", "y": "y",
     "series": {"a": [[0, 1], [2.0, 3.0]]}},
    {"kind": "Pictures", "title": "e", "text": "", "pictures": [PICTURE]},
    {"kind": "PictureRows", "title": "f", "text": "", "first": "q", "others": "n",
     "rows": [[PICTURE, PICTURE]]},
]  # fmt: skip
SIMILARITY = {
    "found": [{"features": "a", "samples": "b", "cka": 0.5, "of_teacher": [0.5, 0.2],
               "of_span": [0.4, 0.1], "width": 1}],
    "reason": "",
}  # fmt: skip
SPEED = {
    "networks": [{"label": "student", "name": "vit"}],
    "timings": [{"network": "student", "runtime": "pytorch", "batch_size": 1, "rounds": 3,
                 "latency_ms": {"median": 1.0, "p10": 0.9, "p90": 1.1}, "images_per_second": 1e3}],
    "environment": {"hardware": "cpu"}, "device": "cpu", "threads": 1, "notes": ["n"],
}  # fmt: skip
PAGE_SECONDS = 3.0  # of which drawing takes most
PROJECTION = save({"weight": torch.eye(4, 3)})
JSON_FILES = {
    "findings/findings.json": FINDINGS,
    "similarity-before.json": SIMILARITY,
    "similarity-after.json": SIMILARITY,
    "bench.json": SPEED,
}


def lines(*records):
    return b"".join(dumped(record) + b"\n" for record in records)


def write_run(folder):
    """A run folder with everything that a page shows."""
    (folder / "findings").mkdir(parents=True)
    (folder / "samples").mkdir()
    (folder / "recipe.yaml").write_text("task: classification\n")
    (folder / "metrics.jsonl").write_bytes(lines(RECORD, RECORD | {"epoch": 2}))
    (folder / "steps.jsonl").write_bytes(lines(STEP, STEP | {"update": 100}))
    (folder / "projection.safetensors").write_bytes(PROJECTION)
    (folder / "notes.txt").write_text("rolled back\n")
    for name, content in JSON_FILES.items():
        (folder / name).write_bytes(dumped(content))
    for file in ("findings/0000.png", "samples/epoch-00001.png"):
        Image.new("L", (8, 8)).save(folder / file)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "run")


@fuzzed(500)
@given(
    st.lists(mutated(RECORD), max_size=3).map(lambda records: lines(*records))
    | files(lines(RECORD, RECORD))
)
@example(b'{"epoch": NaN, "seconds": 1}\n')
@example(b'{"epoch": 1e400, "seconds": 1}\n')
@example(lines(RECORD | {"seconds": 10**400}))
@example(lines(RECORD | {"seconds": 0}) + b"1" * 5000 + b"\n\n")
def test_metrics_are_read_or_refused_in_a_sentence(tmp_path_factory, content):
    folder = tmp_path_factory.getbasetemp() / "metrics"
    folder.mkdir(exist_ok=True)
    (folder / "metrics.jsonl").write_bytes(content)
    found = answer_of(lambda: read_metrics(folder))
    if isinstance(found, list):
        for record in found:
            assert float(record["epoch"]) == int(record["epoch"])


@fuzzed(10)
@given(st.data())
def test_a_page_is_written_or_refused_in_a_sentence(run, data):
    name = data.draw(st.sampled_from(
        [*JSON_FILES, "metrics.jsonl", "steps.jsonl", "projection.safetensors", "png",
         "recipe.yaml"]
    ))  # fmt: skip
    check_page(run, name, lambda valid: data.draw(content_of(name, valid)))


def content_of(name, valid):
    match name:
        case "metrics.jsonl":
            return st.lists(mutated(RECORD), min_size=1, max_size=2).map(lambda r: lines(*r))
        case "steps.jsonl":
            return st.lists(mutated(STEP), min_size=1, max_size=2).map(lambda r: lines(*r))
        case _ if name in JSON_FILES:
            return json_files(JSON_FILES[name])
    return damaged(valid)


def check_page(run, name, change):
    file = run / (name if name != "png" else "findings/0000.png")
    valid = file.read_bytes()
    try:
        file.write_bytes(change(valid))
        answer_of(lambda: write_report([run], run.parent / "page.html"), PAGE_SECONDS)
    finally:
        file.write_bytes(valid)


def replaced(record, path, value):
    record = json.loads(json.dumps(record))
    at = record
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return record


FOUND = [
    ("bench.json", replaced(SPEED, ["timings", 0, "batch_size"], float("inf"))),
    ("findings/findings.json", replaced(FINDINGS, [2, "counts", 0, 0], float("inf"))),
    ("findings/findings.json", replaced(FINDINGS, [2, "counts", 0, 0], -5)),
    ("findings/findings.json", replaced(FINDINGS, [3, "series", "a", 0, 0], 10**400)),
    ("findings/findings.json", replaced(FINDINGS, [3, "series", "a", 0, 0], float("nan"))),
    ("findings/findings.json", replaced(FINDINGS, [5, "rows", 0], [])),
    ("similarity-after.json", replaced(SIMILARITY, ["found", 0, "cka"], 10**400)),
    ("similarity-after.json", replaced(SIMILARITY, ["found", 0, "width"], float("inf"))),
]


@pytest.mark.parametrize(("name", "content"), FOUND)
def test_what_was_found_is_refused_in_a_sentence(run, name, content):
    check_page(run, name, lambda valid: dumped(content))
