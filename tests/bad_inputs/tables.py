"""Tables of paths and labels, and data sets of Hugging Face."""

import io

from bad_inputs.made import as_folder, every, link, picture, pipe, text
from bad_inputs.table import Case


def pictures(folder):
    for number in range(4):
        picture(folder / "data" / f"{number}.png")


GOOD = "path,label\n0.png,a\n1.png,b\n2.png,a\n3.png,b\n"


def case(name, content, *words, file="data/t.csv", path="data/t.csv", code=2):
    make = every(pictures, content if callable(content) else text(file, content))
    command = f"check --dataset table --data-path {path}"
    return Case(name, command, words, code, make)


def parquet(columns, count=4):
    """A Parquet file; of many rows that are equal, which takes few bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    table = pa.table(columns)
    with pq.ParquetWriter(buffer, table.schema) as writer:
        for _ in range(max(1, count // len(table))):
            writer.write_table(table)
    return buffer.getvalue()


def of_parquet(name, columns, *words):
    def make(folder):
        text("data/t.parquet", parquet(columns))(folder)

    return case(name, make, *words, path="data/t.parquet")


CASES = [
    case("empty", "", "t.csv is empty"),
    case("binary", b"\xff\xfe\x00", "UTF-8"),
    case("zero bytes within", GOOD.replace("a\n", "a\0\n"), "t.csv", code=(0, 2)),
    case("columns alone", "path,label\n", "no rows"),
    case("columns of one name", "path,path\n0.png,1.png\n", "same name"),
    case("no column of pictures", "x,label\n0.png,a\n", "--image-column"),
    case("no column of labels", "path,x\n0.png,a\n", "--label-column"),
    case("a row too long", GOOD + "1.png,a,b\n", "line 6", "3 values"),
    case("a row too short", GOOD + "1.png\n", "line 6", "1 values"),
    case("a label empty", GOOD + "1.png,\n", "line 6", "label"),
    case("a path empty", GOOD + ",a\n", "line 6", "empty"),
    case("a quote without end", GOOD + '"1.png,a\n', "line"),
    case("a field of a megabyte", GOOD + "1.png," + "a" * 1_000_000 + "\n", "line", "limit"),
    case("a picture gone", GOOD + "9.png,a\n", "1 of 5", "9.png", "line 6"),
    case("a path outside", GOOD + "../../etc/passwd,a\n", "line 6", "not inside"),
    case("an absolute path", GOOD + "/etc/passwd,a\n", "line 6", "not inside"),
    case("a split unknown", "path,label,split\n0.png,a,trian\n", "line 2", "trian"),
    case("two columns of splits", "path,label,split,set\n0.png,a,train,train\n", "split"),
    case("gone", lambda folder: None, "t.csv"),
    case("a pipe", pipe("data/t.csv"), "t.csv"),
    case("a device", link("data/t.csv", "/dev/zero"), "t.csv"),
    case("a folder", as_folder("data/t.csv"), "t.csv"),
    case("a pipe among tables", pipe("data/train.csv"), "train.csv", "pipe", path="data"),
    case("a folder among tables", as_folder("data/train.csv"), "train.csv", "folder", path="data"),
    case("two tables of a split", every(text("data/train.csv", GOOD), text("data/train.tsv", GOOD)),
         "train", path="data"),
    case("Parquet of garbage", "PAR1 hello PAR1", "no Parquet", file="data/t.parquet",
         path="data/t.parquet"),
    case("Parquet empty", "", "no Parquet", file="data/t.parquet", path="data/t.parquet"),
    of_parquet("Parquet without labels", {"path": ["0.png"] * 4}, "--label-column"),
    of_parquet("Parquet of null labels", {"path": ["0.png"] * 4, "label": [None] * 4}, "label"),
    of_parquet("Parquet of null paths", {"path": [None] * 4, "label": [1] * 4}, "empty"),
    of_parquet("Parquet of lists", {"path": [["0.png"]] * 4, "label": [1] * 4}, "4 of 4"),
]  # fmt: skip
