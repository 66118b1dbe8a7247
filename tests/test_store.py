"""Stores by themselves: their format, old and new, and what does not fit."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

import vkd
from vkd.errors import RunError
from vkd.store.description import StoreDescription, describe
from vkd.store.layout import RowLayout
from vkd.store.rows import StoredRows, check_rows, file_of, open_store, write_rows
from vkd.store.teacher import DiskTeacher
from vkd.teacher import StoredTeacher, TeacherOutput


def outputs(rows, **widths):
    features = {name: torch.randn(rows, width) for name, width in widths.items()}
    return TeacherOutput(features, torch.randn(rows, 2))


def store(folder, whole, rows_per_file=4):
    """A store of float32 outputs."""
    rows = len(next(iter(whole.features.values())))
    description = StoreDescription(rows, 1, 0, "float32", ["a", "b"], {}, rows_per_file)
    open_store(folder, description)
    for number in range(description.files):
        rows = list(description.rows_of(number))
        part = whole.each(lambda part, rows=rows: part[rows])
        write_rows(file_of(folder, number), part, "float32")
    return folder


def test_several_layers_are_found_by_row(tmp_path):
    whole = outputs(10, **{"layer4": 3, "layer2": 5})
    teacher = DiskTeacher(store(tmp_path / "store", whole))
    assert isinstance(teacher, StoredTeacher)
    assert (teacher.widths, teacher.num_classes) == ({"layer4": 3, "layer2": 5}, 2)
    rows = torch.tensor([9, 0, 4, 4])
    found = teacher(torch.zeros(4, 1), rows)
    assert list(found.features) == ["layer4", "layer2"]
    torch.testing.assert_close(found, whole.each(lambda part: part[rows]), rtol=0, atol=0)
    names = set(load_file(file_of(tmp_path / "store", 0)))
    assert names == {"features:layer4", "features:layer2", "logits", "checks"}


def test_a_single_layer_is_written_as_ever_and_keeps_its_name(tmp_path):
    whole = outputs(5, **{"blocks.3": 3})
    folder = store(tmp_path / "store", whole)
    assert set(load_file(file_of(folder, 0))) == {"features", "logits", "checks"}
    with safe_open(file_of(folder, 0), "pt") as file:
        assert json.loads(file.metadata()["layers"]) == ["blocks.3"]
    assert DiskTeacher(folder).widths == {"blocks.3": 3}


def test_stores_of_the_first_release_can_be_read(tmp_path):
    open_store(tmp_path / "store", StoreDescription(3, 1, 0, "float16", ["a", "b"]))
    tensors = {"features": torch.randn(3, 4).half(), "logits": torch.randn(3, 2).half()}
    save_file(tensors, file_of(tmp_path / "store", 0))
    teacher = DiskTeacher(tmp_path / "store")
    found = teacher(torch.zeros(2, 1), torch.tensor([2, 0]))
    assert torch.equal(found.only, tensors["features"][[2, 0]].float())
    assert torch.equal(found.logits, tensors["logits"][[2, 0]].float())
    student = nn.Linear(3, 6)
    with vkd.Distiller(student, teacher, "", example=torch.zeros(2, 3)) as distiller:
        assert distiller(torch.randn(2, 3), torch.tensor([0, 1])).loss.isfinite()


def test_teachers_without_logits_can_be_stored(tmp_path):
    whole = TeacherOutput({"": torch.randn(5, 3)})
    teacher = DiskTeacher(store(tmp_path / "store", whole))
    assert teacher.num_classes is None
    found = teacher(torch.zeros(5, 1), torch.arange(5))
    assert torch.equal(found.only, whole.only)
    assert found.logits is None


def test_indices_are_required_and_within_the_rows(tmp_path):
    teacher = DiskTeacher(store(tmp_path / "store", outputs(5, a=3)))
    for indices, message in (
        (None, "needs indices.*found None"),
        (torch.tensor([0]), r"shape \(2,\).*found \(1,\)"),
        (torch.tensor([0, 5]), r"in 0\.\.4, the store's rows, found 0\.\.5"),
        (torch.tensor([-1, 2]), r"found -1\.\.2"),
    ):
        with pytest.raises(ValueError, match=message) as error:
            teacher(torch.zeros(2, 1), indices)
        assert len(str(error.value)) <= 300


def test_a_distiller_over_a_store_called_without_indices_raises(tmp_path):
    """It once compared every image with row 0."""
    teacher = DiskTeacher(store(tmp_path / "store", outputs(5, a=3)))
    student = nn.Linear(6, 4)
    distiller = vkd.Distiller(student, teacher, "", example=torch.zeros(2, 6))
    with pytest.raises(ValueError, match="needs indices"):
        distiller(torch.randn(3, 6))
    assert distiller(torch.randn(3, 6), indices=torch.tensor([4, 0, 1])).loss.isfinite()


def test_files_that_differ_from_the_first_are_named(tmp_path):
    folder = store(tmp_path / "store", outputs(8, a=3))
    write_rows(file_of(folder, 1), outputs(4, a=9), "float32")
    with pytest.raises(ValueError, match=r"rows-000001.* does not fit its store: it has 9 of 'a'"):
        DiskTeacher(folder)


def test_outputs_without_features_are_not_written(tmp_path):
    with pytest.raises(ValueError, match="features of a layer, found none"):
        write_rows(tmp_path / "rows", TeacherOutput({}, torch.zeros(2, 2)), "float32")
    wide = TeacherOutput({"a": torch.zeros(1, 2), "b": torch.full((1, 2), 1e6)})
    with pytest.raises(ValueError, match="features:b are not finite in float16"):
        write_rows(tmp_path / "rows", wide, "float16")
    with pytest.raises(ValueError, match="is no store of a teacher's outputs"):
        describe(tmp_path)


def test_a_damaged_file_is_named(tmp_path):
    open_store(tmp_path / "store", StoreDescription(3, 1, 0, "float16", ["a"]))
    file = file_of(tmp_path / "store", 0)
    file.write_bytes(b"nonsense")
    with pytest.raises(ValueError, match=r"rows-000000\.safetensors cannot be read"):
        DiskTeacher(tmp_path / "store")
    save_file({"features": torch.zeros(3, 2)}, file)
    with pytest.raises(ValueError, match=r"rows-000000\.safetensors cannot be read"):
        DiskTeacher(tmp_path / "store")


@given(st.lists(st.integers(0, 29), min_size=1, max_size=12), st.integers(1, 9))
def test_any_rows_are_found_in_any_files(rows, rows_per_file):
    features, logits = torch.randn(30, 4), torch.randn(30, 3)
    teacher = DiskTeacher.__new__(DiskTeacher)
    teacher.description = StoreDescription(10, 3, 0, "float32", [], {}, rows_per_file)
    parts = features.split(rows_per_file), logits.split(rows_per_file)
    layout = RowLayout(("a",), 3, "float32")
    teacher._parts = [
        StoredRows(file_of(Path("store"), 0), layout, {"features": ours, "logits": theirs}, None)
        for ours, theirs in zip(*parts, strict=True)
    ]
    assert teacher.description.files == len(teacher._parts)
    found = teacher(torch.zeros(len(rows), 1), torch.tensor(rows))
    assert torch.equal(found.only, features[rows])
    assert torch.equal(found.logits, logits[rows])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[(name, value) for name in ("images", "views", "rows_per_file")
          for value in ("x", None, 0, -1, 1.5, True, [3])],
        *[("recipe", value) for value in ([], None, "x", 3)],
        *[("seed", value) for value in ("x", None, -1, 1.5, 2**70)],
        *[("dtype", value) for value in ("int4", None, 3, "load")],
        *[("top_k", value) for value in ("x", None, -1, 1.5)],
        *[("pairs", value) for value in ("x", None, 1)],
        *[("classes", value) for value in (None, 3, "abc", [1, 2], {})],
        *[("pictures", value) for value in (None, 3, [], {"listing": 3}, {"a": "b"})],
        *[("teacher_weights", value) for value in (None, 3, [])],
    ],
)  # fmt: skip
def test_a_wrong_entry_of_a_description_is_named(tmp_path, name, value):
    folder = store(tmp_path / "store", outputs(8, a=3))
    file = folder / "store.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {name: value}))
    with pytest.raises(ValueError, match=rf"store\.json: {name} must be .*, found ") as error:
        DiskTeacher(folder)
    assert len(str(error.value)) <= 300


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"3", b"null", b"NaN", b"{}", b"[" * 100_000, bytes(range(256)),
                b'{"images": 8, "foo": 1}']
)  # fmt: skip
def test_a_description_that_is_none_is_refused(tmp_path, content):
    folder = store(tmp_path / "store", outputs(8, a=3))
    (folder / "store.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"store\.json"):
        DiskTeacher(folder)


@pytest.mark.parametrize("change", [{"views": 10**12}, {"images": 10**18}])
def test_a_description_of_endless_rows_is_refused_at_once(tmp_path, change):
    folder = store(tmp_path / "store", outputs(8, a=3))
    file = folder / "store.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ValueError, match="is incomplete"):
        DiskTeacher(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda part: part[:2],
        lambda part: torch.cat([part, part]),
        lambda part: part[:, 0],
        lambda part: part[..., None],
        lambda part: part.int(),
        lambda part: part.half(),
    ],
)
def test_rows_of_another_shape_or_type_are_refused(tmp_path, change):
    folder = store(tmp_path / "store", outputs(8, a=3))
    file = file_of(folder, 0)
    tensors = load_file(file)
    tensors["features"] = change(tensors["features"]).contiguous()
    save_file(tensors, file, {"layers": '["a"]'})
    with pytest.raises(ValueError, match=r"rows-000000\.safetensors does not fit its store"):
        DiskTeacher(folder)


@pytest.mark.parametrize("layers", ["3", "{", "[]", "[[1]]", "null", '{"a": 1}'])
def test_layers_that_are_no_names_are_refused(tmp_path, layers):
    folder = store(tmp_path / "store", outputs(8, a=3))
    save_file(load_file(file_of(folder, 0)), file_of(folder, 0), {"layers": layers})
    with pytest.raises(ValueError, match=r"rows-000000\.safetensors cannot be read"):
        DiskTeacher(folder)


@pytest.mark.parametrize("part", ["features", "logits"])
def test_a_number_that_changed_is_seen_where_it_is_used(tmp_path, part):
    folder = store(tmp_path / "store", outputs(8, a=3))
    file = file_of(folder, 0)
    tensors = load_file(file)
    tensors[part][1, 1] += 1e-6
    save_file(tensors, file, {"layers": '["a"]'})
    teacher = DiskTeacher(folder)
    teacher(torch.zeros(1, 1), torch.tensor([0]))
    with pytest.raises(RunError, match=r"rows-000000\.safetensors is damaged"):
        teacher(torch.zeros(2, 1), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="is damaged"):
        check_rows(folder, 0, describe(folder))


def test_a_folder_in_place_of_rows_is_named(tmp_path):
    folder = store(tmp_path / "store", outputs(8, a=3))
    file_of(folder, 0).unlink()
    file_of(folder, 0).mkdir()
    with pytest.raises(ValueError, match=r"rows-000000\.safetensors is no file"):
        DiskTeacher(folder)


def spread(logits, top_k):
    """The log-probabilities of the largest, and the rest spread evenly, row by row."""
    found = []
    for row in logits.double():
        shares = row.softmax(0)
        kept = shares.argsort(descending=True)[:top_k]
        even = torch.full_like(shares, (1 - shares[kept].sum()).item() / (len(row) - top_k))
        even[kept] = shares[kept]
        found.append(even)
    return torch.stack(found)


@given(st.integers(2, 40), st.integers(1, 39), st.floats(0.1, 20.0), st.integers(0, 99))
def test_top_k_logits_keep_their_probabilities_and_spread_the_rest(classes, top_k, scale, seed):
    top_k = min(top_k, classes - 1)
    torch.manual_seed(seed)
    whole = TeacherOutput({"a": torch.randn(6, 3)}, torch.randn(6, classes) * scale)
    expected = spread(whole.logits, top_k)
    for dtype, tolerance in (("float32", 1e-6), ("float16", 2e-3), ("int8", 2e-3)):
        layout = RowLayout.of(whole, dtype, top_k)
        held = layout.encoded(whole)
        found = layout.decoded(held).logits.double().softmax(1)
        torch.testing.assert_close(found, expected, rtol=0.05, atol=tolerance)
        mass = expected.topk(top_k).values.sum(1)
        torch.testing.assert_close(layout.kept_mass(held), mass, rtol=0, atol=tolerance * 2)


@given(st.integers(1, 50), st.floats(1e-20, 1e20), st.integers(0, 99))
def test_int8_features_are_within_half_a_step_of_their_row(width, scale, seed):
    torch.manual_seed(seed)
    features = torch.randn(5, width) * scale
    features[0] = 0
    layout = RowLayout.of(TeacherOutput({"a": features}), "int8")
    found = layout.decoded(layout.encoded(TeacherOutput({"a": features}))).only
    steps = features.abs().amax(1, keepdim=True) / 127
    assert ((found - features).abs() <= steps * 0.5001).all()
    assert not found[0].any()


@pytest.mark.parametrize("dtype", ["float16", "int8"])
@pytest.mark.parametrize("layers", [{"a": 3}, {"b": 3, "a": 5}])
def test_small_rows_are_found_and_checked(tmp_path, dtype, layers):
    whole = TeacherOutput({n: torch.randn(9, w) for n, w in layers.items()}, torch.randn(9, 7))
    folder = tmp_path / "store"
    open_store(folder, StoreDescription(9, 1, 0, dtype, list("abcdefg"), {}, 4, top_k=2))
    description = describe(folder)
    for number in range(3):
        rows = list(description.rows_of(number))
        part = whole.each(lambda part, rows=rows: part[rows])
        write_rows(file_of(folder, number), part, dtype, 2)
    teacher = DiskTeacher(folder)
    assert (teacher.widths, teacher.num_classes) == (layers, 7)
    rows = torch.tensor([8, 0, 5])
    found = teacher(torch.zeros(3, 1), rows)
    layout = RowLayout.of(whole, dtype, 2)
    expected = layout.decoded(layout.encoded(whole)).each(lambda part: part[rows])
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    copy = pickle.loads(pickle.dumps(teacher))
    torch.testing.assert_close(copy(torch.zeros(3, 1), rows), found, rtol=0, atol=0)
    with safe_open(file_of(folder, 0), "pt") as file:
        metadata, names = file.metadata(), set(file.keys())
    for name in names - {"checks"}:
        file = file_of(folder, 0)
        tensors = load_file(file)
        before = {key: part.clone() for key, part in tensors.items()}
        tensors[name][1, 0] += 1
        save_file(tensors, file, metadata)
        with pytest.raises(RunError, match=r"rows-000000\.safetensors is damaged"):
            DiskTeacher(folder)(torch.zeros(1, 1), torch.tensor([1]))
        save_file(before, file, metadata)


def test_top_k_needs_more_logits():
    whole = outputs(3, a=4)
    for top_k, logits in ((2, whole.logits), (1, None)):
        with pytest.raises(ValueError, match=f"found {top_k} of {'2' if top_k > 1 else 'no'} log"):
            RowLayout.of(whole._replace(logits=logits), "float32", top_k)


def test_more_classes_than_int16_counts_are_told_apart():
    whole = TeacherOutput({"a": torch.zeros(1, 1)}, torch.zeros(1, 40_000))
    whole.logits[0, 39_999] = 9.0
    layout = RowLayout.of(whole, "float16", 1)
    assert layout.decoded(layout.encoded(whole)).logits.argmax() == 39_999


def test_small_numbers_that_are_not_finite_are_refused():
    for value in (torch.nan, torch.inf):
        features = torch.zeros(2, 3)
        features[1, 1] = value
        layout = RowLayout.of(TeacherOutput({"a": features}), "int8")
        with pytest.raises(ValueError, match="scales are not finite in float32"):
            layout.encoded(TeacherOutput({"a": features}))
