"""Files of rows: their names, their metadata, and what is refused in which words."""

import json
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from vkd.errors import FieldError, RunError
from vkd.store.description import StoreDescription, describe
from vkd.store.layout import RowLayout
from vkd.store.rows import (
    _checks,
    bind_teacher,
    check_rows,
    file_of,
    is_store,
    open_rows,
    open_store,
    present_files,
    write_rows,
)
from vkd.store.teacher import DiskTeacher, Stored
from vkd.teacher import TeacherOutput

DESCRIPTION = StoreDescription(6, 1, 0, "float32", ["ä", "b", "c"], {}, 4)


@pytest.fixture
def folder(tmp_path):
    """A store of two files, of four rows and of two."""
    open_store(tmp_path / "store", DESCRIPTION)
    generator = torch.Generator().manual_seed(0)
    for number in range(2):
        rows = len(DESCRIPTION.rows_of(number))
        features = {"a": torch.randn(rows, 2, generator=generator)}
        outputs = TeacherOutput(features, torch.randn(rows, 3, generator=generator))
        write_rows(file_of(tmp_path / "store", number), outputs, "float32")
    return tmp_path / "store"


def rewritten(file, tensors=None, **metadata):
    """Change tensors and metadata of a file; None takes a part away."""
    with safe_open(file, "pt") as opened:
        before = dict(opened.metadata())
    parts = {name: part.clone() for name, part in load_file(file).items()} | (tensors or {})
    noted = before | {name: json.dumps(v) for name, v in metadata.items()}
    save_file(
        {name: part for name, part in parts.items() if part is not None},
        file,
        {name: value for name, value in noted.items() if value != "null" or name == "classes"},
    )


def test_a_store_is_a_folder_with_a_description(tmp_path):
    assert not is_store(tmp_path)
    open_store(tmp_path / "new" / "store", DESCRIPTION)
    assert is_store(tmp_path / "new" / "store")
    assert [path.name for path in (tmp_path / "new" / "store").iterdir()] == ["store.json"]
    open_store(tmp_path / "new" / "store", DESCRIPTION)  # a part goes on
    (tmp_path / "empty").mkdir()
    open_store(tmp_path / "empty", DESCRIPTION)
    assert describe(tmp_path / "empty") == DESCRIPTION


def test_folders_that_hold_something_else_are_left_alone(tmp_path, folder):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").touch()
    (tmp_path / "file").touch()
    for taken in ("mine", "file"):
        with pytest.raises(ValueError, match=f"{taken} exists and is no store; name a new folder"):
            open_store(tmp_path / taken, DESCRIPTION)
    other = StoreDescription(5, 1, 0, "float32", ["ä", "b", "c"], {}, 4)
    with pytest.raises(ValueError, match="store holds another store; name a new folder"):
        open_store(folder, other)
    assert describe(folder) == DESCRIPTION


def test_times_of_pictures_and_weights_make_no_other_store(folder):
    bind_teacher(folder, "w")
    moved = StoreDescription(6, 1, 0, "float32", ["ä", "b", "c"], {}, 4, {"times": "1"}, "v")
    open_store(folder, moved)
    assert describe(folder).teacher_weights == "w"
    assert describe(folder).pictures == {}


def test_a_store_is_bound_to_the_first_weights(folder):
    assert describe(folder).teacher_weights == ""
    for _ in range(2):
        bind_teacher(folder, "w")
        assert describe(folder).teacher_weights == "w"
    with pytest.raises(ValueError, match="store holds outputs of other weights"):
        bind_teacher(folder, "v")
    assert describe(folder).teacher_weights == "w"


def test_only_files_of_the_store_are_present_in_order(folder):
    for name in ("rows-000001.safetensors.partial", "rows-1.safetensors", "rows-000002.safetensors",
                 "arows-000000.safetensors", "rows-000000xsafetensors"):  # fmt: skip
        (folder / name).touch()
    assert file_of(folder, 1) == folder / "rows-000001.safetensors"
    assert present_files(folder, DESCRIPTION) == [0, 1]
    file_of(folder, 0).unlink()
    assert present_files(folder, DESCRIPTION) == [1]
    with pytest.raises(
        ValueError, match=r"store is incomplete, 1 of 2 files are missing; the same"
    ):
        DiskTeacher(folder)


def test_files_of_more_than_a_million_are_counted_too(tmp_path):
    many = StoreDescription(2_000_001, 1, 0, "float32", [], {}, 1)
    for number in (7, 1_234_567, 2_000_000, 2_000_001):
        file_of(tmp_path, number).touch()
    assert present_files(tmp_path, many) == [7, 1_234_567, 2_000_000]


def test_a_check_is_the_crc_of_a_row_of_all_parts(folder):
    tensors = load_file(file_of(folder, 0))
    for row in range(4):
        parts = [tensors[name][row].numpy() for name in ("features", "logits")]
        assert tensors["checks"][row] == zlib.crc32(np.concatenate(parts).tobytes())


def test_metadata_tell_layers_classes_and_what_is_kept(folder, tmp_path):
    with safe_open(file_of(folder, 0), "pt") as opened:
        metadata = {name: json.loads(value) for name, value in opened.metadata().items()}
    mass = {"mean": 1.0, "least": 1.0}
    assert metadata == {"layers": ["a"], "classes": 3, "kept_mass": mass}
    logits = torch.tensor([[0.5, 0.3, 0.2], [0.7, 0.2, 0.1]]).log()
    file = file_of(tmp_path, 0)
    write_rows(file, TeacherOutput({"a": torch.zeros(2, 1)}, logits), "float32", 1)
    small = StoreDescription(2, 1, 0, "float32", [], {}, top_k=1)
    assert open_rows(tmp_path, 0, small).kept_mass == pytest.approx((0.6, 0.5))
    rewritten(file, kept_mass=None)
    assert open_rows(tmp_path, 0, small).kept_mass == (1.0, 1.0)


def test_writing_leaves_the_file_alone(folder):
    names = {path.name for path in folder.iterdir()}
    assert names == {"store.json", "rows-000000.safetensors", "rows-000001.safetensors"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"layers": "a"}, r"cannot be read: its layers must be a list of names, found 'a'\.$"),
        ({"layers": []}, r"cannot be read: its layers must be a list of names, found \[\]\.$"),
        ({"layers": ["a", 1]}, r"its layers must be a list of names, found \['a', 1\]\.$"),
        ({"classes": "b"}, r"read: its classes: 'b' is no whole number of at least 1\.$"),
        ({"classes": 3.0}, r"read: its classes: 3\.0 is no whole number of at least 1\.$"),
        ({"tensors": {"checks": torch.zeros(3, dtype=torch.int64)}}, "must have 4 checks of rows"),
        (
            {"tensors": {"features": torch.zeros(4, 2).half()}},
            r"it must have 4 rows of float32, found features \(4, 2\) of float16, "
            r"logits \(4, 3\) of float32; remove it, and `vkd cache` writes it again\.$",
        ),
        ({"tensors": {"features": torch.zeros(3, 2)}}, r"4 rows of .*found features \(3, 2\)"),
        ({"tensors": {"features": None}}, r"cannot be read: .*features"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_in_these_words(folder, change, words):
    file = file_of(folder, 0)
    rewritten(file, **change)
    with pytest.raises(ValueError, match=words) as error:
        open_rows(folder, 0, DESCRIPTION)
    assert str(error.value).startswith(f"{file} ")


def test_only_files_that_say_nothing_of_classes_may_have_logits_of_any_number(folder):
    rewritten(file_of(folder, 0), layers=None, classes=None)
    with safe_open(file_of(folder, 0), "pt") as opened:
        assert "layers" not in opened.metadata()
    found = open_rows(folder, 0, DESCRIPTION)
    assert found.layout == RowLayout(("",), 3, "float32")
    rewritten(file_of(folder, 0), {"logits": None, "checks": None}, layers=["a"])
    found = open_rows(folder, 0, DESCRIPTION)
    assert found.layout.classes is None
    assert found.checks is None
    rewritten(file_of(folder, 0), layers=None)
    with pytest.raises(ValueError, match=r"cannot be read: .*logits"):
        open_rows(folder, 0, DESCRIPTION)


def test_a_changed_row_is_told_where_it_is_read_and_no_other(folder):
    features = load_file(file_of(folder, 1))["features"].clone()
    features[1, 0] += 1
    rewritten(file_of(folder, 1), {"features": features})
    check_rows(folder, 0, DESCRIPTION)
    with pytest.raises(ValueError, match=r"rows-000001\.safetensors is damaged"):
        check_rows(folder, 1, DESCRIPTION)
    opened = open_rows(folder, 1, DESCRIPTION)
    assert set(opened.rows(torch.tensor([0, 0]))) == {"features", "logits"}
    with pytest.raises(RunError, match="damaged"):
        opened.rows(torch.tensor([0, 1]))


def test_batches_take_rows_and_how_they_are_held(folder):
    teacher = DiskTeacher(folder)
    stored = teacher.stored(torch.tensor([5, 0]))
    assert stored == Stored(teacher.layout, stored.rows, None)
    assert stored.layout == RowLayout(("a",), 3, "float32")
    torch.testing.assert_close(stored.output, teacher(torch.zeros(2, 1), torch.tensor([5, 0])))
    none = teacher.rows(torch.tensor([], dtype=torch.long))
    assert {name: part.shape for name, part in none.items()} == {
        "features": (0, 2),
        "logits": (0, 3),
    }
    for row in (-1, 6):
        with pytest.raises(ValueError, match=rf"in 0\.\.5, the store's rows, found {row}\.\.{row}"):
            teacher.rows(torch.tensor([row]))


def test_files_of_other_widths_are_told_with_theirs(folder):
    outputs = TeacherOutput({"b": torch.zeros(2, 5)}, torch.zeros(2, 3))
    write_rows(file_of(folder, 1), outputs, "float32")
    with pytest.raises(ValueError, match="store: it has 5 of 'b' features and 3 logits, the first "
                       r"file 2 of 'a' features and 3 logits\.$"):  # fmt: skip
        DiskTeacher(folder)
    write_rows(file_of(folder, 1), TeacherOutput({"a": torch.zeros(2, 2)}), "float32")
    with pytest.raises(ValueError, match="it has 2 of 'a' features and no logits, the first"):
        DiskTeacher(folder)


@pytest.mark.parametrize("classes", [32_767, 32_768])
def test_layouts_choose_the_smallest_type_that_holds_the_classes(classes):
    kept = torch.int16 if classes == 32_767 else torch.int32
    layout = RowLayout(("a",), classes, "int8", 5)
    assert list(layout.dtypes.items()) == [
        ("features", torch.int8), ("scales", torch.float32), ("logits", torch.float16),
        ("kept", kept), ("rest", torch.float16),
    ]  # fmt: skip
    several = RowLayout(("a", "b"), None, "float32")
    assert list(several.dtypes.items()) == [
        ("features:a", torch.float32), ("features:b", torch.float32)
    ]  # fmt: skip


def test_the_bytes_of_a_row_are_those_of_its_parts_and_its_check():
    outputs = TeacherOutput({"a": torch.zeros(2, 5)}, torch.zeros(2, 9))
    for dtype, top_k, expected in (
        ("float32", 0, 4 * 14), ("float16", 0, 2 * 14), ("int8", 0, 5 + 4 + 2 * 9),
        ("int8", 3, 5 + 4 + 3 * 2 + 3 * 2 + 2), ("float32", 3, 4 * 5 + 3 * 4 + 3 * 2 + 4),
    ):  # fmt: skip
        layout = RowLayout.of(outputs, dtype, top_k)
        assert layout.row_bytes(layout.encoded(outputs)) == expected + 8


def test_top_k_is_below_the_number_of_logits():
    outputs = TeacherOutput({"a": torch.zeros(2, 5)}, torch.zeros(2, 3))
    assert RowLayout.of(outputs, "float16", 2) == RowLayout(("a",), 3, "float16", 2)
    with pytest.raises(FieldError) as error:
        RowLayout.of(outputs, "float16", 3)
    assert error.value.field == "top_k"
    assert "must be below the number of the teacher's logits, found 3 of 3" in str(error.value)


@pytest.mark.parametrize("name", ["logits", "kept", "rest", "scales", "features"])
def test_each_part_of_small_rows_must_have_its_width_type_and_number(name):
    outputs = TeacherOutput({"a": torch.randn(4, 5)}, torch.randn(4, 9))
    layout = RowLayout.of(outputs, "int8", 3)
    tensors = layout.encoded(outputs)
    assert layout.fits(tensors, 4)
    assert not layout.fits(tensors, 3)
    part = tensors[name]
    wrong = [part[:3], part.double(), part[:, :, None], part[:, 0]]
    if name != "features":
        wrong.append(torch.cat([part, part], 1))
    for changed in wrong:
        assert not layout.fits(tensors | {name: changed}, 4)
    assert not layout.fits({other: tensors[other] for other in tensors if other != name}, 4)


def test_rows_of_half_precision_are_kept_to_its_rounding():
    outputs = TeacherOutput({"a": torch.randn(4, 5)}, torch.randn(4, 9))
    layout = RowLayout.of(outputs, "float16")
    found = layout.decoded(layout.encoded(outputs))
    assert torch.equal(found.only, outputs.only.half().float())
    assert torch.equal(found.logits, outputs.logits.half().float())
    assert torch.equal(layout.kept_mass(layout.encoded(outputs)), torch.ones(4))


def test_int8_rows_are_rounded_to_whole_steps_of_their_largest():
    features = torch.tensor([[127.0, -63.6, 0.4], [0.0, 0.0, 0.0], [-254.0, 2.0, 1.1]])
    layout = RowLayout(("a",), None, "int8")
    held = layout.encoded(TeacherOutput({"a": features}))
    assert held["features"].tolist() == [[127, -64, 0], [0, 0, 0], [-127, 1, 1]]
    assert held["scales"].flatten().tolist() == [1, 0, 2]


@pytest.mark.parametrize(
    ("classes", "is_taken"), [([0, 2], True), ([0, 3], False), ([-1, 2], False)]
)
def test_classes_that_are_kept_are_some_of_the_teachers_whatever_the_checks_say(
    tmp_path, classes, is_taken
):
    small = StoreDescription(2, 1, 0, "float32", ["a", "b", "c"], {}, 2, top_k=2)
    outputs = TeacherOutput({"a": torch.randn(2, 2)}, torch.randn(2, 3))
    file = file_of(tmp_path, 0)
    write_rows(file, outputs, "float32", 2)
    tensors = load_file(file)
    tensors["kept"] = torch.tensor([[0, 1], classes], dtype=torch.int16)
    names = [name for name in open_rows(tmp_path, 0, small).tensors if name != "checks"]
    rewritten(file, tensors | {"checks": _checks([tensors[name] for name in names])})
    opened = open_rows(tmp_path, 0, small)
    assert opened.rows(torch.tensor([0]))["kept"].tolist() == [[0, 1]]
    if is_taken:
        assert opened.rows(torch.tensor([1]))["kept"].tolist() == [classes]
    else:
        with pytest.raises(RunError, match="is damaged: rows are not as they were written"):
            opened.rows(torch.tensor([1]))


def test_pictures_that_are_described_make_no_other_store(tmp_path):
    with_times = replace(DESCRIPTION, pictures={"times": "1"})
    open_store(tmp_path / "store", with_times)
    open_store(tmp_path / "store", replace(DESCRIPTION, pictures={"times": "2"}))
    assert describe(tmp_path / "store").pictures == {"times": "1"}
