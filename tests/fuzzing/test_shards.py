"""Shards of WebDataset and tables."""

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzzing.mutations import damaged, files
from fuzzing.reading import answer_of, fuzzed
from vkd.data.shards import read_shards
from vkd.data.sources import PhotographSource
from vkd.data.table import read_table


def shard(*entries):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


VALID = shard(
    ("a.jpg", b"x" * 30), ("a.cls", b"1"), ("b" * 120 + ".jpg", b"y"), ("b" * 120 + ".cls", b"0")
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("shards")


@fuzzed(300)
@given(files(VALID), st.booleans())
def test_shards_are_read_or_refused_in_a_sentence(folder, content, labelled):
    (folder / "train-0.tar").write_bytes(content)

    def read():
        reader = read_shards(PhotographSource("wds", str(folder), labelled=labelled)).readers[
            "train"
        ]
        return [reader[index] for index in range(len(reader))]

    answer_of(read)


TABLE = b"path,label,split\na.png,cat,train\nb.png,dog,train\na.png,cat,val\n"


@fuzzed(300)
@given(damaged(TABLE) | st.text(max_size=80).map(lambda text: text.encode(errors="replace")))
def test_tables_are_read_or_refused_in_a_sentence(folder, content):
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(b"x")
    (folder / "t.csv").write_bytes(content)
    answer_of(lambda: read_table(PhotographSource("table", str(folder / "t.csv"))))
