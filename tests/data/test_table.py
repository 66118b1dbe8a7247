"""Tables of paths and labels."""

import pytest

from support.pictures import named, opened, write_picture
from vkd.errors import UserError


def write_table(folder, text, name="data.csv"):
    for i in range(8):
        write_picture(folder / "images" / f"{i}.png", i)
    file = folder / name
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def rows(names, columns="path,label", path="images/{}.png"):
    return "\n".join([columns, *(f"{path.format(i)},{name}" for i, name in enumerate(names))])


@pytest.mark.parametrize("columns", ["path,label", "IMG,Class", "file_name,category"])
def test_a_table_without_splits_holds_out_a_share(tmp_path, columns):
    file = write_table(tmp_path, rows(["dog", "cat"] * 4, columns))
    found = opened(file, "table", validation_fraction=0.25)
    assert found.readers["train"].classes == ["cat", "dog"]
    assert [len(found.readers[s]) for s in ("train", "validation")] == [6, 2]
    every = named(found.readers["train"]) | named(found.readers["validation"])
    assert every[str(tmp_path / "images" / "0.png")] == "dog"
    assert every[str(tmp_path / "images" / "7.png")] == "cat"


def test_a_column_tells_the_splits(tmp_path):
    text = rows(["cat,Train", "dog,train", "cat,VALID", "dog,testing"], "image,label,split")
    found = opened(write_table(tmp_path, text), "table")
    assert {s: list(named(r).values()) for s, r in found.readers.items()} == {
        "train": ["cat", "dog"], "validation": ["cat"], "test": ["dog"]
    }  # fmt: skip


@pytest.mark.parametrize(("suffix", "mark"), [("csv", ","), ("csv", ";"), ("tsv", "\t")])
def test_a_folder_of_tables(tmp_path, suffix, mark):
    write_table(tmp_path, rows(["cat", "dog"]).replace(",", mark), f"train.{suffix}")
    text = "\ufeff" + rows(["dog"]).replace(",", mark) + "\r\n\r\n"
    write_table(tmp_path, text, f"Val.{suffix}")
    found = opened(tmp_path, "table")
    assert list(named(found.readers["validation"]).values()) == ["dog"]
    assert "1 pictures are in train and validation" in "; ".join(found.notes)


def test_parquet_and_whole_numbers(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    write_table(tmp_path, "")
    paths = [f"images/{i}.png" for i in range(8)]
    table = pyarrow.table({"path": paths, "label": [10, 9, 10, 9, 2, 2, 10, 9]})
    parquet.write_table(table, tmp_path / "data.parquet")
    train = opened(tmp_path / "data.parquet", "table").readers["train"].whole
    assert train.classes == ["2", "9", "10"]
    assert train.labels.tolist() == [2, 1, 2, 1, 0, 0, 2, 1]
    (tmp_path / "data.parquet").write_bytes(b"PAR1 damaged")
    with pytest.raises(UserError, match="no Parquet file"):
        opened(tmp_path / "data.parquet", "table")


def test_columns_and_the_folder_of_pictures_can_be_named(tmp_path):
    text = rows(["x,cat", "x,dog", "x,cat", "x,dog"], "where,label,species", "{}.png")
    (tmp_path / "tables").mkdir()
    write_table(tmp_path, "")
    file = tmp_path / "tables" / "data.csv"
    file.write_text(text)
    found = opened(
        file, "table", image_column="where", label_column="species",
        image_folder=str(tmp_path / "images"),
    )  # fmt: skip
    assert found.readers["train"].classes == ["cat", "dog"]
    for fields, words in (
        ({}, "image_column must be given; the columns of .*where, label, species"),
        ({"image_column": "wher"}, "image_column wher is not there; .*where, label, species"),
    ):
        with pytest.raises(UserError, match=words):
            opened(file, "table", **fields)


def test_paths_of_other_systems_and_absolute_ones_inside(tmp_path):
    inside = tmp_path / "images" / "2.png"
    text = f"path,label\nimages\\0.png,cat\n./images/../images/1.png,dog\n{inside},cat\n"
    whole = opened(write_table(tmp_path, text), "table").readers["train"].whole
    assert [path for path, _ in whole.sources()] == [f"images/{i}.png" for i in range(3)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path,label\nimages/0.png,cat\n../secret.png,dog", "line 3: ../secret.png is not inside"),
        ("path,label\n/etc/passwd,cat", "line 2: /etc/passwd is not inside"),
        ("path,label\n..\\secret.png,cat", "line 2: .*is not inside"),
        ("path,label\nimages/0.png,cat\nimages/x.png,dog\nb/y.png,dog", "names 2 of 3 pictures.*"
         "images/x.png in line 3"),
        ("path,label\nimages/0.png,\n", r"line 2: the label \(label\) is empty"),
        ("path,label\n,cat\n", "line 2: the picture's path is empty"),
        ("path,label\nimages/0.png,cat,3\n", "line 2: 3 values for 2 columns"),
        ("path,label\nimages/0.png\n", "line 2: 1 values for 2 columns"),
        ('path,label\nimages/0.png,"cat\n', "line 2"),
        (b"path,label\nimages/0.png,caf\xe9\n", "not encoded as UTF-8 in line 2"),
        ("", "is empty"),
        ("path,label\n", "has no rows"),
        ("path,path,label\n", "columns of the same name"),
        ("path,img,label\nimages/0.png,a,b", "image_column must say which of path, img"),
        ("path,kind\nimages/0.png,a", "label_column .*columns of .* are path, kind"),
        ("path,label,split\nimages/0.png,a,holdout", "line 2: split is 'holdout'"),
        ("path,label,split\nimages/0.png,a,val\nimages/0.png,a,valid", "val and valid"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_told_with_its_line(tmp_path, text, words):
    write_picture(tmp_path.parent / "secret.png")
    file = write_table(tmp_path, text)
    with pytest.raises(UserError, match=words) as error:
        opened(file, "table")
    assert str(file) in str(error.value)
    assert len(str(error.value)) - 2 * len(str(tmp_path)) <= 300
