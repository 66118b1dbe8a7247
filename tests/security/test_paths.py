"""What files name stays inside of the folder that the user named."""

import io
import json
import os
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from support.networks import save_network
from support.pictures import opened, picture_bytes, write_picture
from vkd import create_model
from vkd.data.shards import ShardReader
from vkd.detection.picture_paths import PicturePaths
from vkd.errors import UserError
from vkd.inside import inside
from vkd.reporting.grids import sample_section
from vkd.training.findings import Picture, Pictures
from vkd.training.findings_files import read_findings, write_findings

OUTSIDE = ["../secret.png", "a/../../secret.png", "..\\secret.png", "{top}/secret.png"]


@pytest.fixture
def place(tmp_path):
    """A folder of data, and a picture beside it that is none of its."""
    write_picture(tmp_path / "secret.png", 77)
    write_picture(tmp_path / "data" / "own.png", 1)
    return tmp_path / "data"


@given(st.lists(st.sampled_from(["..", ".", "a", "b", "", "/"]), max_size=6))
def test_a_path_is_inside_where_the_system_says_so(parts):
    name = "/".join(parts)
    found = inside("/top/folder", name)
    path = os.path.normpath(os.path.join("/top/folder", name))
    assert (found is not None) == path.startswith("/top/folder/")
    assert found is None or os.path.join("/top/folder", found) == path


@pytest.mark.parametrize("name", ["", "\0", "a\0b", ".", "..", "/", "/top", "/top/folder2/a"])
def test_what_is_no_path_inside(name):
    assert inside("/top/folder", name) is None


def test_links_count_where_they_are_a_strangers(place):
    (place / "link.png").symlink_to(place.parent / "secret.png")
    assert inside(place, "link.png") == "link.png"
    assert inside(place, "link.png", through_links=False) is None
    assert inside(place, "own.png", through_links=False) == "own.png"


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_table_names_nothing_outside_unless_a_folder_is_named(name, place):
    named = name.format(top=place.parent)
    (place / "train.csv").write_text(f"image,label\n{named},a\n{named},a\n")
    with pytest.raises(UserError, match="image_folder"):
        opened(place, "table")
    if name[0] == "{":
        asked = opened(place, "table", image_folder=str(place.parent))
        assert asked.readers["train"].filename(0) == str(place.parent / "secret.png")


@pytest.mark.parametrize("name", OUTSIDE)
def test_annotations_name_nothing_outside(name, place):
    with pytest.raises(UserError):
        PicturePaths(place, place, "instances.json").find([name.format(top=place.parent)])


def test_shards_have_no_files_of_other_kinds_and_write_none(place):
    shard = place / "train-0.tar"
    kinds = {"hard.png": tarfile.LNKTYPE, "soft.png": tarfile.SYMTYPE, "fifo.png": tarfile.FIFOTYPE,
             "device.png": tarfile.CHRTYPE}  # fmt: skip
    with tarfile.open(shard, "w") as tar:
        for name, kind in kinds.items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "../secret.png"
            tar.addfile(member)
        for name in ("../above", f"{place.parent}/absolute"):
            for suffix, content in ((".png", picture_bytes(9)), (".cls", b"0")):
                member = tarfile.TarInfo(name + suffix)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    before = sorted(place.parent.rglob("*"))
    reader = ShardReader([shard], place)
    # What begins with a dot is hidden; others are read by their place, so that names lead nowhere.
    assert [Image.open(reader[i][0]).getpixel((0, 0))[0] for i in range(len(reader))] == [9]
    assert sorted(place.parent.rglob("*")) == before
    assert "links" in "".join(reader.notes)


def test_an_index_of_weights_names_its_own_parts(tmp_path):
    pytest.importorskip("transformers")
    save_network("vit", tmp_path / "net")
    weights = tmp_path / "net" / "model.safetensors"
    weights.rename(tmp_path / "elsewhere.safetensors")
    (tmp_path / "net" / "link.safetensors").symlink_to(tmp_path / "elsewhere.safetensors")
    index = tmp_path / "net" / "model.safetensors.index.json"
    for name in ("../elsewhere.safetensors", f"{tmp_path}/elsewhere.safetensors",
                 "link.safetensors", 3):  # fmt: skip
        index.write_text(json.dumps({"metadata": {}, "weight_map": {"weight": name}}))
        with pytest.raises(UserError, match="weight_map names"):
            create_model(f"hf/{tmp_path / 'net'}", "hub")


@pytest.mark.parametrize("name", ["../../secret.png", "link.png", "/etc/passwd"])
def test_findings_show_nothing_from_elsewhere(name, place):
    run = place / "run"
    run.mkdir()
    picture = Picture(Image.new("RGB", (4, 4)), "own")
    write_findings(run, [Pictures(title="Found", text="", pictures=[picture])])
    file = run / "findings" / "findings.json"
    (file.parent / "link.png").symlink_to(place.parent / "secret.png")
    records = json.loads(file.read_text())
    records[0]["pictures"][0]["file"] = name
    file.write_text(json.dumps(records))
    with pytest.raises(UserError, match="outside"):
        read_findings(run)


def test_samples_that_are_links_to_elsewhere_are_not_shown(place, caplog):
    run = place / "run"
    write_picture(run / "samples" / "epoch-00001.png")
    (run / "samples" / "epoch-00002.png").symlink_to(place.parent / "secret.png")
    section = sample_section({"a": run})
    assert len(section.blocks[-1].pictures) == 1
    assert "1 samples are left out" in caplog.text


@pytest.mark.parametrize("named", ["../secret.csv", "https://127.0.0.1:9/secret.csv"])
def test_a_card_of_data_names_no_files_elsewhere(named, place):
    pytest.importorskip("datasets")
    (place.parent / "secret.csv").write_text("image,label\na.png,a\n")
    (place / "own.png").unlink()
    (place / "train.csv").write_text("image,label\na.png,a\n")
    (place / "README.md").write_text(
        f"---\nconfigs:\n- config_name: default\n  data_files: {named!r}\n---\n"
    )
    with pytest.raises(UserError, match=r"outside of it|no data set"):
        opened(place, "hfds")
