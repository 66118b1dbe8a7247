"""Files of embeddings that a search reads."""

import io
import json

import numpy as np

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

WIDTH = 4
NAMES = [f"{number}.png" for number in range(3)]


def array(values, **options):
    buffer = io.BytesIO()
    np.save(buffer, values, **options)
    return buffer.getvalue()


def archive():
    buffer = io.BytesIO()
    np.savez(buffer, rows=np.ones((3, WIDTH), np.float32))
    return buffer.getvalue()


def claimed(shape):
    """An array that claims a shape and holds nothing."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "<f4", "fortran_order": False, "shape": shape}
    )
    return buffer.getvalue()


ROWS = array(np.ones((3, WIDTH), np.float32))


def case(name, change, *words, index="rows.npy"):
    make = every(
        lambda folder: picture(folder / "query.png"),
        text("rows.npy", ROWS),
        text("rows.names.json", json.dumps(NAMES)),
        change,
    )
    command = f"search --checkpoint embedding --index {index} query.png"
    return Case(name, command, words, make=make, needs=("embedding",))


def rows(name, content, *words):
    return case(f"array {name}", text("rows.npy", content), "rows", *words)


def names(name, content, *words):
    return case(f"names {name}", text("rows.names.json", content), "rows", *words)


CASES = [
    rows("empty", b""),
    rows("a text", b"hello"),
    rows("cut", ROWS[:-8]),
    rows("a header of another version", ROWS.replace(b"NUMPY\x01", b"NUMPY\x09")),
    rows("an archive", archive()),
    rows("of pickles", array(np.array([{}, {}, {}], dtype=object), allow_pickle=True)),
    rows("of texts", array(np.array(["a", "b", "c"]))),
    rows("of whole numbers", array(np.ones((3, WIDTH), np.int64)), "int64"),
    rows("of records", array(np.zeros(3, dtype=[("a", "f4")]))),
    rows("of one dimension", array(np.ones(3, np.float32)), "names"),
    rows("of three dimensions", array(np.ones((3, 2, 2), np.float32)), "3 x 2 x 2"),
    rows("of NaN", array(np.full((3, WIDTH), np.nan, np.float32)), "finite"),
    rows("of no rows", array(np.ones((0, WIDTH), np.float32))),
    rows("of another width", array(np.ones((3, 7), np.float32)), "7 features"),
    rows("of no width", array(np.ones((3, 0), np.float32)), "0 features"),
    rows("that claims 2^50 rows", claimed((2**50, WIDTH))),
    rows("that claims -1 rows", claimed((-1, WIDTH))),
    names("empty", b""),
    names("cut", b'["a", "b'),
    names("binary", b"\xff\x00"),
    names("deep", nested(100_000)),
    names("a map", b"{}", "no list of names"),
    names("numbers", b"[1, 2, 3]", "no list of names"),
    names("too few", b'["a"]', "1 names"),
    case("array a pipe", in_place_of("rows.npy", pipe("rows.npy")), "rows.npy is no file"),
    case("array a device", in_place_of("rows.npy", link("rows.npy", "/dev/zero")), "no file"),
    case("array a folder", in_place_of("rows.npy", as_folder("rows.npy")), "no file"),
    case("names a pipe", in_place_of("rows.names.json", pipe("rows.names.json")), "is no file"),
    case("gone", lambda folder: (folder / "rows.npy").unlink(), "no file", "rows.npy"),
    case("Parquet of garbage", text("x.parquet", b"PAR1 hello PAR1"), "x.parquet",
         index="x.parquet"),
    case("Parquet a pipe", pipe("x.parquet"), "x.parquet", index="x.parquet"),
    case("a folder without pictures", text("some/x.txt", b"x"), "some", index="some"),
    case("a folder of bombs", text("some/x.png", png(30000, 30000)), "some", index="some"),
    case("a pattern of nothing", lambda folder: None, "gone", index="gone*.png"),
]  # fmt: skip
