"""Stores of teacher outputs: their description, and their rows with metadata."""

import json
import struct

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors.torch import load_file, save

from fuzzing.mutations import damaged, dumped, json_files, mutated
from fuzzing.reading import answer_of, fuzzed
from vkd.errors import as_user_error
from vkd.store.description import describe
from vkd.store.rows import file_of, write_rows
from vkd.store.teacher import DiskTeacher
from vkd.teacher import TeacherOutput

DESCRIPTION = {
    "images": 6, "views": 1, "seed": 0, "dtype": "float16", "classes": ["a", "b", "c", "d"],
    "recipe": {"teacher": "resnet18", "lr": 0.1}, "rows_per_file": 4,
    "pictures": {"listing": "1", "times": "2", "contents": "3"}, "teacher_weights": "4",
    "top_k": 2, "pairs": False,
}  # fmt: skip


def written(folder, count):
    """The bytes of a file of rows, its tensors and its metadata."""
    file = file_of(folder, 9)
    features = torch.randn(count, 3, generator=torch.Generator().manual_seed(0))
    logits = torch.randn(count, 4, generator=torch.Generator().manual_seed(1))
    write_rows(file, TeacherOutput({"norm": features}, logits), "float16", 2)
    content = file.read_bytes()
    header = json.loads(content[8 : 8 + struct.unpack("<Q", content[:8])[0]])
    tensors = load_file(file)
    file.unlink()
    return content, tensors, header["__metadata__"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    (folder / "store.json").write_bytes(dumped(DESCRIPTION))
    for number, count in enumerate((4, 2)):
        file_of(folder, number).write_bytes(written(folder, count)[0])
    return folder


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    return written(tmp_path_factory.mktemp("rows"), 4)


def rows_of(folder):
    """Read all rows of a store, as a loader of batches does."""
    with as_user_error("teacher_store"):
        teacher = DiskTeacher(folder)
        stored = teacher.stored(torch.arange(teacher.description.rows))
        return stored.output


@fuzzed(400)
@given(json_files(DESCRIPTION))
@example(dumped(DESCRIPTION | {"views": 10**12}))
@example(dumped(DESCRIPTION | {"rows_per_file": 0}))
@example(dumped(DESCRIPTION | {"dtype": []}))
@example(dumped(DESCRIPTION | {"views": 10**12, "rows_per_file": 1}))
def test_a_description_is_read_or_refused_in_a_sentence(tmp_path_factory, content):
    folder = tmp_path_factory.getbasetemp() / "description"
    folder.mkdir(exist_ok=True)
    (folder / "store.json").write_bytes(content)

    def read():
        with as_user_error("teacher_store"):
            describe(folder)
            return DiskTeacher(folder)

    answer_of(read)


@fuzzed(150)
@given(st.data())
def test_damaged_rows_are_read_or_refused_in_a_sentence(store, parts, data):
    valid = file_of(store, 0).read_bytes()
    try:
        file_of(store, 0).write_bytes(data.draw(damaged(parts[0])))
        answer_of(lambda: rows_of(store))
    finally:
        file_of(store, 0).write_bytes(valid)


ENTRIES = {"layers": ["norm"], "classes": 4, "kept_mass": {"mean": 0.8, "least": 0.5}}
DTYPES = [torch.float16, torch.float32, torch.int8, torch.int16, torch.int64, torch.bool]


@fuzzed(150)
@given(
    mutated(ENTRIES),
    st.sampled_from(["features", "logits", "kept", "rest", "checks", ""]),
    st.sampled_from(DTYPES),
    st.lists(st.integers(0, 5), max_size=3),
)
@example(ENTRIES | {"kept_mass": {}}, "", torch.int8, [])
@example(ENTRIES | {"classes": -1}, "", torch.int8, [])
@example(ENTRIES | {"classes": 10**12}, "", torch.int8, [])
@example(ENTRIES | {"layers": ["a", "a"]}, "", torch.int8, [])
@example(ENTRIES | {"classes": True}, "", torch.int8, [])
@example(ENTRIES | {"classes": None}, "logits", torch.int8, [])
def test_rows_of_other_shapes_are_read_or_refused(store, parts, entries, name, dtype, shape):
    tensors = dict(parts[1])
    if name:
        tensors[name] = torch.zeros(shape, dtype=dtype)
    entries = entries if isinstance(entries, dict) else {"layers": entries}
    metadata = {
        key.encode(errors="replace").decode(): dumped(value).decode(errors="replace")
        for key, value in entries.items()
    }
    valid = file_of(store, 0).read_bytes()
    try:
        file_of(store, 0).write_bytes(save(tensors, metadata))
        answer_of(lambda: rows_of(store))
    finally:
        file_of(store, 0).write_bytes(valid)
