"""Images to generate, and fixed shares of them."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from support.pictures import write_picture
from vkd.data.sources import PhotographSource
from vkd.errors import RunError, UserError
from vkd.generation.data import read_generation, subset_indices


@pytest.mark.parametrize("fraction", [0.1, 0.2, 1.0])
def test_shares_are_fixed_nested_and_balanced(fraction):
    labels = torch.arange(10).repeat(30)[torch.randperm(300)]
    chosen = subset_indices(labels, fraction, 0)
    assert chosen.equal(subset_indices(labels, fraction, 0))
    assert torch.bincount(labels[chosen]).tolist() == [round(30 * fraction)] * 10
    assert set(chosen.tolist()) <= set(subset_indices(labels, 1.0, 0).tolist())
    if fraction < 1:
        assert not chosen.equal(subset_indices(labels, fraction, 1))
        assert set(subset_indices(labels, 0.1, 0).tolist()) <= set(chosen.tolist())


def test_digits_become_images_of_the_generators_range():
    splits = read_generation(PhotographSource("digits", ""), fraction=0.5)
    image, label, index = (part[0] for part in splits.train.__getitems__([0]))
    assert image.shape == (1, 32, 32)
    assert -1 <= image.min() < -0.9
    assert 0.5 < image.max() <= 1
    assert int(index) == int(splits.indices[0])
    assert 0 <= int(label) < 10


def test_image_folders_are_read_at_the_generators_size(tmp_path):
    for split in ("train", "val"):
        for name in ("a", "b"):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for index in range(4):
                pixels = np.full((40, 50, 3), 30 * index, dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.png")
    splits = read_generation(PhotographSource("folder", str(tmp_path)), fraction=0.5)
    assert len(splits.train) == 4
    image = splits.train[0][0]
    assert image.shape == (3, 32, 32)
    assert splits.classes == ["a", "b"]


def test_tables_are_read_with_a_share_to_measure_with(tmp_path):
    lines = ["path,label"]
    for i in range(20):
        write_picture(tmp_path / f"{i}.png", i)
        lines.append(f"{i}.png,{'cat' if i % 2 else 'dog'}")
    (tmp_path / "data.csv").write_text("\n".join(lines))
    splits = read_generation(PhotographSource("table", str(tmp_path / "data.csv")), fraction=0.5)
    assert splits.classes == ["cat", "dog"]
    assert (len(splits.train), len(splits.validation)) == (8, 2)
    assert any("2 of 20 training pictures are held out" in note for note in splits.notes)
    assert set(splits.readers) == {"train", "validation"}


def test_cifar_in_its_published_files_is_checked(tmp_path):
    with pytest.raises(UserError, match="data_path"):
        read_generation(PhotographSource("cifar10", ""))
    # A file of the right name and wrong content is not taken for CIFAR.
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"not it")
    with pytest.raises(RunError, match="cifar10 could not be fetched"):
        read_generation(PhotographSource("cifar10", str(tmp_path)))


def test_cifar_is_read_from_its_published_format(tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR10

    folder = tmp_path / CIFAR10.base_folder
    folder.mkdir()
    random = np.random.default_rng(0)
    rows = {}
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        pixels = random.integers(0, 256, (20, 3072), dtype=np.uint8)
        rows[name] = {"data": pixels, "labels": list(range(10)) * 2}
        (folder / name).write_bytes(pickle.dumps(rows[name]))
    names = {"label_names": [f"class {i}" for i in range(10)]}
    (folder / "batches.meta").write_bytes(pickle.dumps(names))
    # Only the published bytes have the published checksum.
    monkeypatch.setattr(CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    splits = read_generation(PhotographSource("cifar10", str(tmp_path)), fraction=0.2)
    assert len(splits.train) == 20
    assert splits.classes == names["label_names"]
    assert len(splits.test) == 20
    expected = rows["test_batch"]["data"][3].reshape(3, 32, 32) / 127.5 - 1
    torch.testing.assert_close(splits.test.images[3].double(), torch.from_numpy(expected))
