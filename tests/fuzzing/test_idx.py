"""IDX files, plain and gzipped."""

import gzip
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fuzzing.mutations import damaged, files
from fuzzing.reading import answer_of, fuzzed
from vkd.data.fashion_mnist import read, read_idx


def idx(shape, values):
    return bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + bytes(values)


IMAGES = idx((4, 3, 3), range(36))
LABELS = idx((4,), [0, 1, 2, 9])
NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte",
         "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")  # fmt: skip
SIDES = st.sampled_from([0, 1, 2, 3, 4, 2**16, 2**31, 2**32 - 1])
SHAPED = st.tuples(SIDES, SIDES, SIDES, st.binary(max_size=64)).map(lambda p: idx(p[:3], p[3]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("idx")


@fuzzed(400)
@given(files(IMAGES, LABELS) | SHAPED, st.sampled_from([1, 3]), st.booleans())
@example(idx((2**31, 2**31, 4), b""), 3, False)
@example(gzip.compress(idx((1, 1, 1), bytes(300_000_000)), 1), 3, True)
def test_a_file_is_read_or_refused_in_a_sentence(folder, content, dimensions, is_packed):
    file = folder / ("packed.gz" if is_packed else "plain")
    is_gzip = content[:2] == b"\x1f\x8b"
    file.write_bytes(gzip.compress(content, 1) if is_packed and not is_gzip else content)
    answer_of(lambda: read_idx(file, dimensions))


@fuzzed(60)
@given(damaged(gzip.compress(IMAGES)))
def test_a_damaged_gzip_file_is_refused_in_a_sentence(folder, content):
    file = folder / "damaged.gz"
    file.write_bytes(content)
    answer_of(lambda: read_idx(file, 3))


@fuzzed(150)
@given(st.sampled_from(NAMES), files(IMAGES, LABELS) | SHAPED)
def test_a_folder_is_read_or_refused_in_a_sentence(folder, name, content):
    for other, valid in zip(NAMES, (IMAGES, LABELS, IMAGES, LABELS), strict=True):
        (folder / other).write_bytes(content if other == name else valid)
    answer_of(lambda: read(folder))
