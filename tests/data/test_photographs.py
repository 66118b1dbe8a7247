"""Image folders, shards and Hugging Face data sets."""

import io
import tarfile

import pytest
import torch

from support.photographs import parts, write_folder
from vkd.data.photographs import Photographs
from vkd.errors import RunError, UserError


def test_a_folder_is_read_with_its_classes(photographs):
    train, validation, classes = parts(photographs)
    assert (len(train), len(validation)) == (24, 25)
    assert classes == ["n00", "n01", "n02"]
    image, label, index = validation[24]
    assert image.shape == (3, 32, 32)
    assert (label, index) == (2, 24)


def test_nested_class_folders_count_by_the_innermost(tmp_path):
    write_folder(tmp_path)
    for name, group in (("n00", "even"), ("n01", "odd"), ("n02", "even")):
        (tmp_path / "train" / group).mkdir(exist_ok=True)
        (tmp_path / "train" / name).rename(tmp_path / "train" / group / name)
    train, _, classes = parts(tmp_path)
    assert classes == ["n00", "n01", "n02"]
    assert len(train) == 24


def test_a_class_unknown_to_training_is_an_error(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "val" / "n01").rename(tmp_path / "val" / "n09")
    with pytest.raises(UserError, match="n09"):
        parts(tmp_path)


def test_corrupt_images_are_named_and_replaced_until_there_are_too_many(tmp_path, caplog):
    write_folder(tmp_path)
    files = sorted((tmp_path / "train" / "n00").iterdir())
    for file in files[:2]:
        file.write_bytes(file.read_bytes()[:100])
    train, _, _ = parts(tmp_path, max_corrupt=2)
    labels = [train[i][1] for i in range(len(train))]
    assert len(labels) == 24
    assert all(label >= 0 for label in labels)
    assert train.skipped == 2
    written = caplog.text
    assert files[0].name in written
    assert "(2)" in written
    strict, _, _ = parts(tmp_path, max_corrupt=1)
    with pytest.raises(RunError, match="more than max_corrupt = 1"):
        [strict[i] for i in range(24)]


def test_a_corrupt_image_does_not_count_in_evaluation(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "val" / "n02" / "0.JPEG").write_bytes(b"broken")
    _, validation, _ = parts(tmp_path)
    labels = [validation[i][1] for i in range(len(validation))]
    assert labels.count(-1) == 1
    assert len(labels) == 24


def test_parquet_is_read_as_hugging_face_does(photographs, tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["n00", "n01", "n02"])}
    )
    for split, name in (("train", "train"), ("val", "validation")):
        files = sorted((photographs / split).rglob("*.JPEG"))
        rows = {
            "image": [{"bytes": f.read_bytes(), "path": f.name} for f in files],
            "label": [int(f.parent.name[1:]) for f in files],
        }
        datasets.Dataset.from_dict(rows, features=features).to_parquet(
            tmp_path / f"{name}-00000-of-00001.parquet"
        )
    _, expected, _ = parts(photographs)
    train, found, classes = parts(tmp_path, "hfds")
    assert classes == ["n00", "n01", "n02"]
    assert len(train) == 24
    for index in (0, 9, 24):
        torch.testing.assert_close(found[index][0], expected[index][0])
        assert found[index][1] == expected[index][1]


@pytest.mark.parametrize("in_folders", [True, False])
def test_shards_hold_the_same_images(photographs, tmp_path, in_folders):
    for split in ("train", "val"):
        files = sorted((photographs / split).rglob("*.JPEG"))
        for shard in range(2):
            name = f"{split}/{shard}.tar" if in_folders else f"a-{split}-{shard}.tar"
            (tmp_path / name).parent.mkdir(exist_ok=True)
            with tarfile.open(tmp_path / name, "w") as tar:
                for file in files[shard::2]:
                    key = f"{file.parent.name}_{file.stem}"
                    label = str(int(file.parent.name[1:])).encode()
                    for suffix, content in ((".cls", label), (".jpg", file.read_bytes())):
                        member = tarfile.TarInfo(key + suffix)
                        member.size = len(content)
                        tar.addfile(member, io.BytesIO(content))
    train, found, classes = parts(tmp_path, "wds")
    _, expected, _ = parts(photographs)
    assert (len(train), len(found)) == (24, 25)
    assert classes == ["0", "1", "2"]
    order = [*range(0, 25, 2), *range(1, 25, 2)]
    for position, original in enumerate(order):
        torch.testing.assert_close(found[position][0], expected[original][0])
        assert found[position][1] == expected[original][1]
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "val.tar").write_bytes(b"no tar")
    with pytest.raises(UserError, match="not a shard"):
        parts(tmp_path / "broken", "wds")


def test_photographs_with_workers_share_their_count(tmp_path):
    write_folder(tmp_path)
    for file in sorted((tmp_path / "train" / "n01").iterdir())[:3]:
        file.write_bytes(b"")
    train, _, _ = parts(tmp_path)
    assert isinstance(train, Photographs)
    loader = torch.utils.data.DataLoader(train, 4, num_workers=2)
    assert sum(len(labels) for _, labels, _ in loader) == 24
    assert train.skipped == 3
