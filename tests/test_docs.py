"""What the pages show is what their scripts print."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("name", ["ImageNet", "COCO"])
def test_the_sizes_of_stores_are_what_the_script_finds(name):
    spec = importlib.util.spec_from_file_location("sizes", ROOT / "benchmarks" / "store_sizes.py")
    sizes = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sizes)
    table = {"ImageNet": sizes.imagenet, "COCO": sizes.coco}[name]()
    text = sizes.DOCS.read_text()
    assert text.count(f"{sizes._BEGIN.format(name)}{table}{sizes._END}") == 1
    assert sizes.with_tables(text, {name: table}) == text
