"""What a store says of itself: what is taken at its bounds, and how the rest is refused."""

import json
from dataclasses import asdict

import pytest

from vkd.errors import FieldError
from vkd.store.description import StoreDescription, StoreOptions, describe

WHOLE = StoreDescription(
    8, 2, 7, "int8", ["a", "b"], {"lr": 1}, 4,
    {"listing": "1", "times": "2", "contents": "3"}, "4", 1, True,
)  # fmt: skip
LEAST = {"images": 1, "views": 1, "seed": 0, "dtype": "float16", "classes": []}


def described(folder, content):
    (folder / "store.json").write_text(json.dumps(content))
    return describe(folder)


def refused(folder, content):
    with pytest.raises(ValueError, match=r"store\.json") as error:
        described(folder, content)
    return str(error.value).removeprefix(f"{folder / 'store.json'}")


def test_all_entries_are_read_as_they_were_written(tmp_path):
    assert described(tmp_path, asdict(WHOLE)) == WHOLE


def test_what_stores_of_earlier_versions_do_not_say_has_a_default(tmp_path):
    found = described(tmp_path, LEAST)
    assert found == StoreDescription(1, 1, 0, "float16", [])
    defaults = {"recipe": {}, "rows_per_file": 16384, "pictures": {}, "teacher_weights": ""}
    assert asdict(found) == LEAST | defaults | {"top_k": 0, "pairs": False}


@pytest.mark.parametrize("name", LEAST)
def test_what_every_store_says_is_required(tmp_path, name):
    rest = {other: value for other, value in LEAST.items() if other != name}
    message = refused(tmp_path, rest)
    assert message.startswith(f": {name} must be ")
    assert message.endswith(", found nothing.")


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 2**32 - 1},
        {"images": 2**63 - 1},
        {"views": 2**63 - 1},
        {"rows_per_file": 1},
        {"rows_per_file": 2**63 - 1},
        {"top_k": 2**63 - 1},
        {"pairs": True, "images": 2, "rows_per_file": 2},
        {"pictures": {"contents": "1"}},
        *({"dtype": dtype} for dtype in ("float16", "float32", "int8")),
    ],
)
def test_values_at_their_bounds_are_taken(tmp_path, change):
    assert asdict(described(tmp_path, LEAST | change)).items() >= change.items()


COUNT = "a whole number of at least 1"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        *(({name: value}, f"{name} must be {COUNT}, found {value!r}")
          for name in ("images", "views", "rows_per_file") for value in (0, 2**63, True, 1.0)),
        ({"seed": 2**32}, f"seed must be a whole number from 0 to {2**32 - 1}, found {2**32}"),
        ({"seed": -1}, f"seed must be a whole number from 0 to {2**32 - 1}, found -1"),
        ({"dtype": "int4"}, "dtype must be one of float16, float32, int8, found 'int4'"),
        ({"classes": "ab"}, "classes must be a list of names, found 'ab'"),
        ({"classes": ["a", 1]}, "classes must be a list of names, found ['a', 1]"),
        ({"recipe": 3}, "recipe must be a mapping, found 3"),
        ({"pictures": {"names": "1"}},
         "pictures must be digests by contents, listing, times, found {'names': '1'}"),
        ({"pictures": {"times": 1}},
         "pictures must be digests by contents, listing, times, found {'times': 1}"),
        ({"pictures": ["times"]},
         "pictures must be digests by contents, listing, times, found ['times']"),
        ({"teacher_weights": 3}, "teacher_weights must be a digest, found 3"),
        ({"top_k": -1}, "top_k must be a whole number of at least 0, found -1"),
        ({"pairs": 1}, "pairs must be true or false, found 1"),
        ({"pairs": True}, "pairs need two images and an even rows_per_file, found 1 and 16384"),
        ({"pairs": True, "images": 2, "rows_per_file": 3},
         "pairs need two images and an even rows_per_file, found 2 and 3"),
        ({"images": 2**62, "views": 2}, "images x views must be below 2^63, found 9.2e+18"),
        ({"dtype": "x" * 200}, f"dtype must be one of float16, float32, int8, found '{'x' * 59}"),
    ],
)  # fmt: skip
def test_values_beyond_their_bounds_are_named(tmp_path, change, words):
    assert refused(tmp_path, LEAST | change) == f": {words}."


def test_what_is_no_description_is_told_from_what_is_no_json(tmp_path):
    unknown = " does not describe a store; make a new store."
    assert refused(tmp_path, [LEAST]) == unknown
    assert refused(tmp_path, LEAST | {"image": 3}) == unknown
    (tmp_path / "store.json").write_text("{")
    with pytest.raises(ValueError, match=r"store\.json cannot be read as JSON; make a new store"):
        describe(tmp_path)
    (tmp_path / "store.json").write_bytes(b'{"images": "\xff"}')
    with pytest.raises(ValueError, match=r"store\.json cannot be read as JSON; make a new store"):
        describe(tmp_path)
    with pytest.raises(ValueError, match=r"none is no store of a teacher's outputs"):
        describe(tmp_path / "none")


def test_names_may_be_in_any_script(tmp_path):
    content = json.dumps(LEAST | {"classes": ["Grün"]}, ensure_ascii=False)
    (tmp_path / "store.json").write_bytes(content.encode())
    assert describe(tmp_path).classes == ["Grün"]


@pytest.mark.parametrize(
    ("images", "views", "pairs", "per_file", "rows"),
    [
        (7, 2, False, 5, [range(0, 5), range(5, 10), range(10, 14)]),
        (7, 2, True, 4, [range(0, 4), range(4, 8), range(8, 12)]),
        (4, 2, False, 4, [range(0, 4), range(4, 8)]),
        (1, 1, False, 9, [range(0, 1)]),
        (8, 1, True, 4, [range(0, 4), range(4, 8)]),
    ],
)
def test_files_hold_their_rows_in_turn_and_pairs_leave_an_odd_image_out(
    images, views, pairs, per_file, rows
):
    found = StoreDescription(
        images, views, 0, "int8", [], rows_per_file=per_file, pairs=pairs
    )  # fmt: skip
    assert [found.rows_of(number) for number in range(found.files)] == rows
    assert found.rows == rows[-1].stop == found.rows_per_view * views


def test_options_default_to_one_constant_view_of_all_in_float16():
    assert StoreOptions() == StoreOptions(views=0, dtype="float16", top_k=0)
    for name in ("views", "top_k"):
        assert getattr(StoreOptions(**{name: 1}), name) == 1
        with pytest.raises(FieldError) as error:
            StoreOptions(**{name: -1})
        assert (error.value.field, str(error.value)) == (
            name, f"{name} must be from 0 to 1,000,000, found -1."
        )  # fmt: skip
    with pytest.raises(FieldError) as error:
        StoreOptions(dtype="int4")
    assert str(error.value) == "dtype must be one of float16, float32, int8, found 'int4'."
    assert error.value.field == "dtype"
