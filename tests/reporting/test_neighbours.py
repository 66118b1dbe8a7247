"""Drawings of neighbours: what is large, tiny, or not there any more."""

import base64
import io
import logging
import re

import pytest
from PIL import Image

from vkd.reporting import neighbours
from vkd.reporting.neighbours import write_neighbours


def record(query, image, rank=1):
    return {"query": str(query), "rank": rank, "image": str(image), "similarity": 0.5}


@pytest.fixture
def pictures(tmp_path):
    """A wide picture, a tiny one with markup in its name, and one that is not there."""
    large, tiny, absent = tmp_path / "wide.png", tmp_path / '<b>"&.png', tmp_path / "absent.png"
    Image.new("RGB", (4000, 1000), "red").save(large)
    Image.new("L", (8, 8)).save(tiny)
    return large, tiny, absent


def test_a_page_has_small_pictures_and_names_what_is_gone(pictures, tmp_path, caplog):
    large, tiny, absent = pictures
    page = tmp_path / "new" / "page.html"
    with caplog.at_level(logging.WARNING, "vkd"):
        write_neighbours([record(large, tiny), record(large, absent, 2)], "a < b", page)
    text = page.read_text()
    assert "<h1>a &lt; b</h1>" in text
    assert '<b>"' not in text
    assert "&lt;b&gt;&#34;&amp;.png" in text
    found = re.findall(r"data:image/(\w+);base64,([^\"]+)", text)
    sizes = [(kind, Image.open(io.BytesIO(base64.b64decode(data))).size) for kind, data in found]
    assert sizes == [("jpeg", (160, 40)), ("png", (8, 8)), ("jpeg", (160, 160))]
    assert f"2: 0.500, which cannot be opened, {absent}" in text
    assert f"pictures that cannot be opened: 1 ({absent})" in caplog.text


def test_a_sheet_has_a_row_for_each_query(pictures, tmp_path):
    large, tiny, absent = pictures
    sheet = tmp_path / "sheet.png"
    write_neighbours([record(large, tiny), record(tiny, absent)], "", sheet)
    drawn = Image.open(sheet).convert("RGB")
    assert drawn.size == (2 * 172 + 12, 2 * 192 + 12)
    assert drawn.getpixel((12 + 80, 12 + 80)) == (255, 0, 0)
    assert drawn.getpixel((10, 12)) == (0, 114, 178)
    assert list(tmp_path.glob("*partial*")) == []


def test_many_queries_are_cut_and_said(pictures, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(neighbours, "MOST_QUERIES", 2)
    records = [record(f"{number}.png", pictures[1]) for number in range(3)]
    with caplog.at_level(logging.WARNING, "vkd"):
        write_neighbours(records, "", tmp_path / "page.html")
    assert "draws the first 2 of 3 queries" in caplog.text
    text = (tmp_path / "page.html").read_text()
    assert "These are the first 2 of 3 queries." in text
    assert ", 2.png" not in text
