"""Pictures alone: every source is read without labels, with or without such in it."""

import io
import tarfile

import pytest
from PIL import Image

from support.photographs import SMALL
from vkd.data.photographs import open_source, read_photographs
from vkd.data.reader import UNLABELLED
from vkd.data.sources import PhotographSource
from vkd.data.transforms import evaluation_transform
from vkd.errors import UserError


def picture(file, colour=0):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (9, 7), (colour, 0, 0)).save(file)
    return file


def opened(kind, path, **fields):
    return open_source(PhotographSource(kind, str(path), labelled=False, **fields))


def names(reader):
    return sorted(reader.filename(index) for index in range(len(reader)))


@pytest.fixture
def tree(tmp_path):
    """Ten pictures at three depths, without a rule in their folders."""
    places = ["", "a", "a/b", "train", "train/x y/z"]
    return {
        str(picture(tmp_path / "data" / place / f"{number}.png"))
        for place in places
        for number in range(2)
    }


def test_a_tree_of_any_depth_is_read_whole(tmp_path, tree, caplog):
    found = opened("folder", tmp_path / "data", validation_fraction=0.3).readers
    train, validation = names(found["train"]), names(found["validation"])
    assert {*train, *validation} == tree
    assert len(validation) == 3
    assert set(train).isdisjoint(validation)
    for reader in found.values():
        assert tuple(reader.classes) == UNLABELLED
        assert set(reader.labels.tolist()) == {0}
    assert "not only train lie in it, so all of it is read as one" in caplog.text


def test_splits_of_imagenets_layout_are_kept_without_their_classes(photographs):
    found = opened("folder", photographs).readers
    assert {split: len(reader) for split, reader in found.items()} == {
        "train": 24,
        "validation": 25,
    }
    assert tuple(found["train"].classes) == UNLABELLED


def test_a_split_is_the_same_whenever_it_is_held_out(tmp_path, tree):
    first, second = (names(opened("folder", tmp_path / "data").readers["train"]) for _ in "ab")
    assert first == second


def test_a_list_of_paths_is_read_in_its_order(tmp_path, tree):
    file = tmp_path / "files.txt"
    paths = sorted(tree)[::-1]
    file.write_text("\n\n".join(paths) + "\n")
    found = opened("table", file, image_folder=str(tmp_path)).readers
    rows = [
        found[split].filename(i)
        for split in ("train", "validation")
        for i in range(len(found[split]))
    ]
    assert sorted(rows) == sorted(paths)
    with pytest.raises(UserError, match="label_column"):
        open_source(PhotographSource("table", str(file), image_folder=str(tmp_path)))


def test_a_path_outside_of_the_lists_folder_is_refused(tmp_path, tree):
    (tmp_path / "lists").mkdir()
    file = tmp_path / "lists" / "files.txt"
    file.write_text("\n".join(tree))
    with pytest.raises(UserError, match="image_folder"):
        opened("table", file)


def test_a_table_needs_no_column_of_labels(tmp_path, tree):
    file = tmp_path / "data" / "pictures.csv"
    file.write_text("path,size\n" + "".join(f"{path},1\n" for path in sorted(tree)))
    found = opened("table", file).readers
    assert len(found["train"]) + len(found["validation"]) == len(tree)


def shard(file, entries):
    file.parent.mkdir(exist_ok=True)
    with tarfile.open(file, "w") as tar:
        for name, content in entries.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize("name", ["train-000.tar", "000.tar"])
@pytest.mark.parametrize("label", [{}, {"0.cls": b"3", "1.cls": b"cat\nand dog"}])
def test_shards_need_neither_classes_nor_splits(tmp_path, name, label):
    content = picture(tmp_path / "p.png").read_bytes()
    shard(tmp_path / "shards" / name, {f"{i}.png": content for i in range(5)} | label)
    found = opened("wds", tmp_path / "shards").readers
    assert len(found["train"]) + len(found["validation"]) == 5
    assert tuple(found["train"].classes) == UNLABELLED


def test_parquet_needs_no_labels(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    content = picture(tmp_path / "p.png").read_bytes()
    rows = {"image": [{"bytes": content, "path": None}] * 6}
    kinds = datasets.Features({"image": datasets.Image()})
    (tmp_path / "data").mkdir()
    datasets.Dataset.from_dict(rows, kinds).to_parquet(tmp_path / "data" / "train.parquet")
    found = opened("hfds", tmp_path / "data").readers
    assert len(found["train"]) + len(found["validation"]) == 6


def test_one_picture_is_too_few(tmp_path):
    picture(tmp_path / "data" / "a.png")
    with pytest.raises(UserError, match="holds one training picture; there must be two or more"):
        opened("folder", tmp_path / "data")


def test_no_picture_is_a_sentence(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "notes.md").write_text("x")
    with pytest.raises(UserError, match=r"holds no pictures: .*\.md \(1\)"):
        opened("folder", tmp_path / "data")


def test_pictures_that_cannot_be_read_are_known_in_evaluation(tmp_path, tree):
    (tmp_path / "data" / "bad.png").write_bytes(b"x")
    source = PhotographSource("folder", str(tmp_path / "data"), labelled=False)
    parts = read_photographs(source, evaluation_transform(SMALL), evaluation_transform(SMALL))
    parts.train.substitute = False
    splits = (parts.train, parts.validation)
    labels = [split[place][1] for split in splits for place in range(len(split))]
    assert sorted(labels) == [-1, *[0] * 10]
