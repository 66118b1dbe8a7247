"""Fashion-MNIST: the IDX format read right and refused when wrong."""

import gzip

import numpy as np
import pytest
import torch
from torchvision.datasets.mnist import read_image_file

from vkd.data import fashion_mnist
from vkd.data.small import read_small
from vkd.errors import UserError


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    data = header + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


@pytest.fixture
def folder(tmp_path):
    generator = np.random.default_rng(0)
    for name, count in (("train", 50), ("t10k", 20)):
        write_idx(
            tmp_path / f"{name}-images-idx3-ubyte.gz", generator.integers(0, 256, (count, 28, 28))
        )
        write_idx(tmp_path / f"{name}-labels-idx1-ubyte", generator.integers(0, 10, count))
    return tmp_path


def test_reads_idx_files_as_torchvision_does(folder):
    plain = folder / "copy"
    plain.write_bytes(gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes()))
    expected = read_image_file(str(plain))
    found = fashion_mnist.read_idx(folder / "t10k-images-idx3-ubyte.gz", 3)
    assert torch.equal(found, expected)
    splits = read_small("fashion-mnist", folder)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [45, 5, 20]
    raw = splits.test.images * splits.format.std[0] + splits.format.mean[0]
    torch.testing.assert_close(raw, expected[:, None].float() / 255, atol=1e-5, rtol=0)


def test_bad_files_are_named(folder):
    (folder / "train-labels-idx1-ubyte").write_bytes(b"hello")
    with pytest.raises(UserError, match=r"train-labels-idx1-ubyte is not an IDX file"):
        read_small("fashion-mnist", folder)
    write_idx(folder / "train-labels-idx1-ubyte", np.zeros(49))
    with pytest.raises(UserError, match="50 train images but 49 labels"):
        read_small("fashion-mnist", folder)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(b"\x1f\x8bbroken")
    with pytest.raises(UserError, match="cannot be read as a gzip file"):
        read_small("fashion-mnist", folder)
    with pytest.raises(
        UserError, match=r"nowhere; name the folder of the IDX files.*dataset-fashion-mnist"
    ):
        read_small("fashion-mnist", folder / "nowhere")


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("train-images-idx3-ubyte.gz", np.zeros((50, 28, 28)), "of one and the same grey, 0"),
        ("train-images-idx3-ubyte.gz", np.full((50, 28, 28), 255), "of one and the same grey, 1"),
        ("train-images-idx3-ubyte.gz", np.zeros((0, 28, 28)), "holds nothing"),
        ("train-images-idx3-ubyte.gz", np.zeros((50, 0, 0)), "holds nothing"),
        ("train-labels-idx1-ubyte", np.full(50, 10), "train label 10; labels must be below 10"),
        ("t10k-labels-idx1-ubyte", np.full(20, 255), "t10k label 255; labels must be below 10"),
        ("t10k-images-idx3-ubyte.gz", np.zeros((20, 28, 27)), "of 28 x 28 and test images of 28 x"),
    ],
)
def test_images_and_labels_that_mean_nothing_are_refused(folder, name, array, message):
    write_idx(folder / name, array)
    with pytest.raises(UserError, match=message):
        read_small("fashion-mnist", folder)


@pytest.mark.parametrize("shape", [(2**31, 2**31, 4), (2**22, 2**21, 2**21), (2**32 - 1,) * 3])
def test_a_shape_whose_product_overflows_is_refused(folder, shape):
    header = bytes([0, 0, 8, 3]) + np.array(shape, ">u4").tobytes()
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(header))
    with pytest.raises(UserError, match="should hold"):
        read_small("fashion-mnist", folder)


def test_one_image_cannot_be_split(folder):
    write_idx(folder / "train-images-idx3-ubyte.gz", np.zeros((1, 28, 28)))
    write_idx(folder / "train-labels-idx1-ubyte", np.zeros(1))
    with pytest.raises(UserError, match="holds 1 training image; there must be two"):
        read_small("fashion-mnist", folder)


@pytest.mark.skipif(
    not fashion_mnist.DEBIAN_FOLDER.exists(),
    reason="Debian's package dataset-fashion-mnist is not installed",
)
def test_finds_debians_fashion_mnist_and_learns_from_it(vkd, tmp_path):
    done = vkd("train", "fashion-mnist-teacher", "--output", tmp_path / "run", "--epochs", 1,
               "--train-fraction", 0.1, "--device", "cpu")  # fmt: skip
    assert done.returncode == 0, done.stderr
    accuracy = float(done.stdout.split("accuracy:")[1].split()[0])
    assert accuracy > 50
