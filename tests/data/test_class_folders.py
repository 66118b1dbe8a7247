"""Which folders are classes, and what is left out with a word."""

import os
from collections import Counter

import pytest

from support.pictures import named, opened, write_classes, write_picture
from vkd.errors import UserError


def counts(reader):
    return Counter(named(reader).values())


def notes_of(found):
    return "; ".join(found.notes)


@pytest.mark.parametrize("inner", ["images", "a/b"])
def test_the_same_folder_in_each_class_is_no_class(tmp_path, inner):
    write_classes(tmp_path, inner=inner)
    found = opened(tmp_path)
    assert found.readers["train"].classes == ["cat", "dog"]
    assert "the class is the outer folder, such as cat" in notes_of(found)
    assert all(f"/{name}/" in file for file, name in named(found.readers["train"]).items())


def test_views_of_each_class_are_no_classes(tmp_path):
    for view in ("front", "side"):
        write_classes(tmp_path, inner=view)
        write_classes(tmp_path, "val", inner=view)
    found = opened(tmp_path)
    assert counts(found.readers["train"]) == {"cat": 8, "dog": 8}


def test_the_validation_folders_are_read_as_those_of_training(tmp_path):
    write_classes(tmp_path, inner="images")
    write_classes(tmp_path, "val", ("dog",), inner="images")
    found = opened(tmp_path)
    assert counts(found.readers["validation"]) == {"dog": 4}
    assert found.readers["validation"].labels.tolist() == [1] * 4


def test_groups_of_classes_are_no_classes(tmp_path):
    for file in ("pets/cat/a.png", "pets/dog/a.png", "plants/rose/a.png", "pets/cat/b.png"):
        write_picture(tmp_path / "train" / file)
    found = opened(tmp_path)
    assert found.readers["train"].classes == ["cat", "dog", "rose"]
    assert "innermost folder" in notes_of(found)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["cat/front/a.png", "cat/side/a.png", "dog/front/a.png"], "neither all distinct"),
        (["cat/a.png", "dog/young/a.png"], "both in class folders, such as cat"),
        (["a.png", "b.png"], "holds 2 pictures and no class folders"),
        (["cat/a.txt"], "no pictures in class folders"),
    ],
)
def test_unclear_folders_are_described(tmp_path, files, words):
    for file in files:
        path = tmp_path / "train" / file
        if file.endswith(".txt"):
            path.parent.mkdir(parents=True)
            path.write_text("a")
        else:
            write_picture(path)
    with pytest.raises(UserError, match=words) as error:
        opened(tmp_path)
    assert str(tmp_path / "train") in str(error.value)


def test_hidden_and_other_files_are_no_classes(tmp_path):
    write_classes(tmp_path)
    write_classes(tmp_path, "val")
    train = tmp_path / "train"
    write_picture(train / ".ipynb_checkpoints" / "a.png")
    write_picture(train / "__MACOSX" / "cat" / "a.png")
    write_picture(train / "cat" / "._0.png")
    write_picture(train / "preview.png")
    (train / "notes").mkdir()
    for name in ("notes/readme.txt", "cat/a.HEIC", "cat/b.heic", "cat/LICENSE"):
        (train / name).write_text("a")
    found = opened(tmp_path)
    assert found.readers["train"].classes == ["cat", "dog"]
    assert len(found.readers["train"]) == 8
    said = notes_of(found)
    expected = "left out 4 files that are no pictures: .heic (2), .txt (1), no suffix (1)"
    for words in (expected, "1 folders without pictures, the first notes",
                  "1 pictures that lie in no class folder, the first preview.png"):  # fmt: skip
        assert words in said


@pytest.mark.parametrize("suffix", [".webp", ".BMP", ".tif", ".jfif", ".JPEG", ".gif", ".jp2"])
def test_pictures_of_any_format_are_read(tmp_path, suffix):
    write_classes(tmp_path)
    write_picture(tmp_path / "train" / "owl" / f"a{suffix}", 3)
    found = opened(tmp_path)
    assert found.readers["train"].classes == ["cat", "dog", "owl"]


def test_links_are_followed_and_cycles_end(tmp_path):
    write_classes(tmp_path)
    write_picture(tmp_path / "elsewhere" / "a.png")
    train = tmp_path / "train"
    (train / "owl").symlink_to(tmp_path / "elsewhere")
    (train / "cat" / "again").symlink_to(train)
    (train / "dog" / "up").symlink_to("/")
    (train / "cat" / "gone.png").symlink_to(tmp_path / "nothing.png")
    (train / "cat" / "file.png").symlink_to(tmp_path / "elsewhere" / "a.png")
    os.mkfifo(train / "cat" / "pipe.png")
    found = opened(tmp_path, validation_fraction=0.01)
    whole = found.readers["train"].whole
    assert counts(whole) == {"cat": 6, "dog": 4, "owl": 1}
    assert "2 links to folders that hold them" in notes_of(found)
    assert "1 pipes and devices" in notes_of(found)


def test_classes_are_sorted_as_strings(tmp_path):
    write_classes(tmp_path, classes=("10", "9", "B", "a"))
    assert opened(tmp_path).readers["train"].classes == ["10", "9", "B", "a"]


def test_folders_without_splits_are_described(tmp_path):
    write_classes(tmp_path, ".")
    with pytest.raises(UserError, match="no folder train, val or test but the folders cat, dog"):
        opened(tmp_path)
    for path in ("", str(tmp_path / "nowhere"), str(tmp_path / "cat" / "0.png")):
        with pytest.raises(UserError):
            opened(path)
