"""Files of embeddings: what numpy and Parquet's readers find, and what is refused."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from vkd.embedding.files import names_file, read_embeddings, write_embeddings
from vkd.errors import UserError

FEATURES = torch.arange(30.0).reshape(10, 3)
NAMES = [f"ö {number}.png" for number in range(10)]


def batches(sizes):
    start = 0
    for size in sizes:
        yield NAMES[start : start + size], FEATURES[start : start + size]
        start += size


@pytest.mark.parametrize("suffix", [".npy", ".parquet"])
@pytest.mark.parametrize("sizes", [[10], [4, 4, 2], [1] * 10, []])
def test_what_is_written_is_read(tmp_path, suffix, sizes):
    path = tmp_path / f"embeddings{suffix}"
    assert write_embeddings(path, batches(sizes), 3) == sum(sizes)
    names, rows = read_embeddings(path)
    assert names == NAMES[: sum(sizes)]
    assert torch.equal(rows.reshape(-1, 3), FEATURES[: sum(sizes)])
    with pytest.raises(UserError, match="exists already"):
        write_embeddings(path, batches([1]), 3)


def test_others_read_them(tmp_path):
    write_embeddings(tmp_path / "a.npy", batches([3, 7]), 3)
    assert np.array_equal(np.load(tmp_path / "a.npy"), FEATURES.numpy())
    assert json.loads((tmp_path / "a.names.json").read_text()) == NAMES
    write_embeddings(tmp_path / "a.parquet", batches([3, 7]), 3)
    table = pq.read_table(tmp_path / "a.parquet")
    assert table["image"].to_pylist() == NAMES
    assert table["embedding"].to_pylist() == FEATURES.tolist()


def test_an_interrupted_file_is_none(tmp_path):
    def broken():
        yield NAMES[:2], FEATURES[:2]
        raise KeyboardInterrupt

    for suffix in (".npy", ".parquet"):
        with pytest.raises(KeyboardInterrupt):
            write_embeddings(tmp_path / f"a{suffix}", broken(), 3)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_file_of_embeddings_is_a_sentence(tmp_path):
    path = tmp_path / "a.npy"
    with pytest.raises(UserError, match=r"must end in \.npy or \.parquet"):
        write_embeddings(tmp_path / "a.csv", batches([1]), 3)
    with pytest.raises(UserError, match=r"There is no file .*a\.npy"):
        read_embeddings(path)
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    names_file(path).write_text('["a"]')
    with pytest.raises(UserError, match="no file of embeddings"):
        read_embeddings(path)
    np.save(path, np.ones((2, 3)))
    with pytest.raises(UserError, match="found 2 x 3 and 1 names"):
        read_embeddings(path)
    np.save(path, np.full((1, 3), np.nan))
    with pytest.raises(UserError, match="finite"):
        read_embeddings(path)
    (tmp_path / "b.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(UserError, match="no file of embeddings"):
        read_embeddings(tmp_path / "b.parquet")
