"""Shards as people have them, and damaged ones."""

import gzip

import pytest

from support.pictures import named, opened, picture_bytes, write_shard
from vkd.data.pictures import open_picture
from vkd.errors import UserError


def entries(labels, suffix=".png"):
    for i, label in enumerate(labels):
        yield f"{i:03d}{suffix}", picture_bytes(10 * i)
        yield f"{i:03d}.cls", str(label).encode()


def test_numbers_are_the_same_class_in_each_split(tmp_path):
    write_shard(tmp_path / "a-training-0.tar", entries([0, 11, 3]))
    write_shard(tmp_path / "a-dev-0.tar", entries([3, 1]))
    found = opened(tmp_path, "wds")
    assert len(found.readers["train"].classes) == 12
    assert found.readers["validation"].labels.tolist() == [3, 1]
    assert any("classes without pictures: 01, 02, 04" in note for note in found.notes)


@pytest.mark.parametrize("suffix", [".webp", ".BMP", ".tif", ".jfif"])
def test_names_and_pictures_of_any_suffix(tmp_path, suffix):
    write_shard(tmp_path / "train" / "0.tar", entries(["dog", "cat", "dog", "cat"], suffix))
    write_shard(tmp_path / "other.tar", entries([0]))
    found = opened(tmp_path, "wds")
    assert found.readers["train"].classes == ["cat", "dog"]
    whole = found.readers["train"].whole
    assert list(named(whole).values()) == ["dog", "cat", "dog", "cat"]
    assert open_picture(whole[3][0]).getpixel((0, 0))[0] == 30
    assert any("tar files that name no split, the first other.tar" in note for note in found.notes)


def test_what_is_left_out_is_counted(tmp_path):
    more = [("000.json", b"{}"), ("001.heic", b"x"), ("009.cls", b"1"), ("._000.png", b"x")]
    write_shard(tmp_path / "train.tar", [*entries([0, 1, 0, 1]), *more])
    said = "; ".join(opened(tmp_path, "wds").notes)
    assert "left out 2 entries that are no pictures: .heic (1), .json (1)" in said
    assert "left out 1 classes without a picture" in said


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("-5", "class -5; classes are from 0"),
        ("1000000000", "class 1000000000 among 2 pictures"),
        ("9" * 400, "class 9+ among 2 pictures"),
        ("99999", "class 99999 among 2 pictures"),
        ("", "holds no class"),
        ("a" * 5000, "holds no class"),
    ],
)
def test_classes_that_are_none_are_told(tmp_path, label, words):
    write_shard(tmp_path / "train.tar", entries([0, label]))
    with pytest.raises(UserError, match=words) as error:
        opened(tmp_path, "wds")
    assert len(str(error.value)) <= 300 + len(str(tmp_path))


def damaged(kind, folder):
    file = folder / "train-0.tar"
    if kind == "folder":
        file.mkdir(parents=True)
        return
    write_shard(file, entries([0, 1, 0, 1]))
    content = bytearray(file.read_bytes())
    if kind == "cut":
        content = content[:1200]
    elif kind == "empty":
        content = bytearray()
    elif kind == "compressed":
        content = bytearray(gzip.compress(bytes(content)))
    elif kind == "huge":
        # The size of the first entry, in base 256, with its checksum set right.
        content[124:136] = b"\x80" + (2**50).to_bytes(11, "big")
        content[148:156] = b" " * 8
        content[148:156] = b"%06o\0 " % sum(content[:512])
    elif kind == "twice":
        write_shard(file, [*entries([0, 1]), *entries([1, 0])])
        return
    file.write_bytes(bytes(content))


@pytest.mark.parametrize("kind", ["folder", "cut", "empty", "compressed", "huge", "twice"])
def test_damaged_shards_are_named(tmp_path, kind):
    damaged(kind, tmp_path)
    with pytest.raises(UserError, match=r"train-0\.tar") as error:
        opened(tmp_path, "wds")
    assert len(str(error.value)) <= 300


def test_a_label_that_is_a_link_is_not_followed(tmp_path):
    import tarfile

    with tarfile.open(tmp_path / "train.tar", "w") as tar:
        picture = tmp_path / "000.png"
        picture.write_bytes(picture_bytes())
        tar.add(picture, "000.png")
        link = tarfile.TarInfo("000.cls")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(link)
    with pytest.raises(UserError, match=r"has no 000\.cls"):
        opened(tmp_path, "wds")
