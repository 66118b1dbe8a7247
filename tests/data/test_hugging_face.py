"""Data sets of Hugging Face as people have them."""

import pytest
import torch

from support.pictures import named, opened, picture_bytes
from vkd.data.photographs import Photographs
from vkd.data.pictures import open_picture
from vkd.errors import UserError

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))


def write(folder, split, columns, features=None):
    count = len(next(iter(columns.values())))
    pictures = [{"bytes": picture_bytes(10 * i), "path": None} for i in range(count)]
    kinds = {"image": datasets.Image(), **(features or {})}
    found = datasets.Dataset.from_dict({"image": pictures, **columns})
    for name, kind in kinds.items():
        found = found.cast_column(name, kind)
    folder.mkdir(exist_ok=True)
    found.to_parquet(folder / f"{split}-00000-of-00001.parquet")


def test_numbers_are_counted_over_training(tmp_path):
    write(tmp_path / "data", "train", {"label": [7, 3, 100, 3, 7, 100]})
    write(tmp_path / "data", "validation", {"label": [100, 3]})
    write(tmp_path / "data", "test", {"label": [7]})
    readers = opened(tmp_path / "data", "hfds").readers
    assert readers["train"].classes == ["3", "7", "100"]
    assert readers["train"].labels.tolist() == [1, 0, 2, 0, 1, 2]
    assert readers["validation"].labels.tolist() == [2, 0]
    assert readers["test"].labels.tolist() == [1]
    content, label = readers["train"][2]
    assert (open_picture(content).getpixel((0, 0))[0], label) == (20, 2)


def test_texts_are_names_and_a_share_is_held_out(tmp_path):
    write(tmp_path / "data", "train", {"label": ["dog", "cat", "dog", "cat"]})
    found = opened(tmp_path / "data", "hfds")
    assert found.readers["train"].classes == ["cat", "dog"]
    assert len(found.readers["validation"]) == 2
    every = {**named(found.readers["train"]), **named(found.readers["validation"])}
    assert sorted(every.values()) == ["cat", "cat", "dog", "dog"]


def test_names_of_classes_are_kept(tmp_path):
    kind = datasets.ClassLabel(names=["zebra", "ape", "owl"])
    write(tmp_path / "data", "train", {"label": [0, 1, 1, 0]}, {"label": kind})
    write(tmp_path / "data", "test", {"label": [1, 0]}, {"label": kind})
    found = opened(tmp_path / "data", "hfds")
    assert found.readers["train"].classes == ["zebra", "ape", "owl"]
    assert any("classes without pictures: owl" in note for note in found.notes)
    assert list(named(found.readers["test"]).values()) == ["ape", "zebra"]


def test_columns_can_be_named(tmp_path):
    columns = {"labels": [0, 1, 0, 1], "fine_label": [2, 3, 4, 5]}
    write(tmp_path / "data", "train", columns)
    with pytest.raises(UserError, match=r"label_column .*labels, fine_label.*image, labels"):
        opened(tmp_path / "data", "hfds")
    with pytest.raises(UserError, match=r"label_column kind is not there; .*image, labels, fine"):
        opened(tmp_path / "data", "hfds", label_column="kind")
    found = opened(tmp_path / "data", "hfds", label_column="labels")
    assert found.readers["train"].classes == ["0", "1"]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"label": [0.5, 1.5]}, "row 0: label holds 0.5"),
        ({"label": [[0], [1]]}, r"row 0: label holds \[0\]"),
        ({"label": ["a", None]}, r"row 1: the label \(label\) is empty"),
        ({"kind": ["a", "b"]}, "label_column .*image, kind"),
    ],
)
def test_labels_that_are_none_are_told(tmp_path, columns, words):
    write(tmp_path / "data", "train", columns)
    with pytest.raises(UserError, match=words):
        opened(tmp_path / "data", "hfds")


def test_pictures_outside_of_the_folder_are_not_read(tmp_path):
    (tmp_path / "secret.png").write_bytes(picture_bytes())
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "own.png").write_bytes(picture_bytes(9))
    paths = ["../secret.png", str(tmp_path / "secret.png"), "own.png", "own.png"]
    found = datasets.Dataset.from_dict({"image": paths, "label": ["a", "b", "a", "b"]})
    found.to_parquet(tmp_path / "data" / "train.parquet")
    whole = opened(tmp_path / "data", "hfds").readers["train"].whole
    for index in range(2):
        with pytest.raises(UserError, match="outside of its folder"):
            whole[index]
    pictures = Photographs(whole, lambda image: torch.zeros(1), max_corrupt=2)
    assert [pictures[i][1] for i in range(4)] == [-1, -1, 0, 1]
    assert open_picture(whole[2][0]).getpixel((0, 0))[0] == 9


def test_a_folder_of_something_else_is_told(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="no data set of Hugging Face"):
        opened(tmp_path / "data", "hfds")
