"""The benchmark of long work: how a process is looked at from outside, and what its table says."""

import gc
import os
import sys
import time
from mmap import mmap
from pathlib import Path

import pytest

SIZE = 3 * 2**20
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def endurance(monkeypatch):
    """The benchmark as a module."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import endurance

    return endurance


def leak(count):
    """Take three MiB and a file a hundred times, or nothing."""
    kept = []
    for _ in range(100):
        # Of the system, as a forked process may have much free memory of its parent's.
        for _ in range(count):
            kept.append((mmap(-1, SIZE), os.open("/", os.O_RDONLY)))
            kept[-1][0].write(b"x" * SIZE)
        time.sleep(0.02)


@pytest.fixture
def forked(endurance, monkeypatch):
    """Let parts run in forked processes, which import nothing anew."""
    import multiprocessing

    monkeypatch.setattr(endurance, "SPAWN", multiprocessing.get_context("fork"))
    # So that they take and give back nothing of their parent's.
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes as Linux has them")
def test_what_grows_is_seen_and_what_does_not_is_flat(endurance, forked):
    flat = endurance.endured(10_000, 0.02, leak, 0)
    grown = endurance.endured(10_000, 0.02, leak, 1)
    assert abs(flat.grown) < 5
    assert flat.warm.files == flat.last.files
    # Of 300 MiB and 100 files at least a half come after the first fifth of the looks.
    assert grown.grown > 120
    assert grown.last.files > grown.warm.files + 30
    (_, _, row, _, made) = endurance.lines_of({"a part": grown})
    assert row.startswith("| a part | 10,000 | ")
    assert row.endswith(" | 1 |")
    assert made == f"1. {grown.environment}"


def fail():
    raise SystemExit(3)


def test_a_part_that_fails_is_told(endurance, forked):
    with pytest.raises(RuntimeError, match="fail ended with code 3"):
        endurance.endured(1, 0.02, fail)


def test_pictures_are_files_of_their_own_name(endurance, tmp_path):
    endurance.write_pictures(tmp_path / "pictures", 1005)
    files = sorted(file.name for file in (tmp_path / "pictures").iterdir())
    assert len(files) == 1005
    assert files[-1] == "001004.png"
