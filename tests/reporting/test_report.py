"""Reports of runs are one page that needs nothing else."""

import json
import re
import shutil
from html.parser import HTMLParser
from itertools import pairwise

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from vkd.cli import main
from vkd.reporting.blocks import Drawings, Section, Table
from vkd.reporting.page import write_page
from vkd.reporting.plots import line_chart
from vkd.reporting.report import write_report
from vkd.training.findings import Absent, Lines, Matrix, Picture, PictureRows, Pictures
from vkd.training.findings_files import read_findings, write_findings

HOSTILE = '<script>alert("x")</script><img src=x onerror=alert(1)>&amp;"'


class Tags(HTMLParser):
    """The tags of a page, with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


@pytest.fixture(scope="module")
def page(digits_run, tmp_path_factory):
    """The text of a report of one run."""
    return write_report([digits_run], tmp_path_factory.mktemp("page") / "r.html").read_text()


def headings(text):
    return [int(tag[1]) for tag, _ in Tags(text).found if re.fullmatch("h[1-6]", tag)]


def test_report_is_one_self_contained_page(vkd, digits_run, digits_teacher, tmp_path):
    page = tmp_path / "report.html"
    assert vkd("report", digits_run, digits_teacher, "--output", page).returncode == 0
    text = page.read_text()
    assert text.count("<svg") >= 8
    assert not re.search(r'(src|href)="(?!#|data:image/png)', text)
    parts = (
        "Orthogonality", "feature_weight", "torch:", "validation accuracy", "CKA of student",
        "Confusion matrix of", "taken for", "Curves by update", "best possible",
        "it has no bench.json", "the student is trained alone",
    )  # fmt: skip
    for part in parts:
        assert part in text, part
    assert main(["report", str(digits_run), "--output", str(page)]) == 2
    assert page.read_text() == text


def test_the_report_shows_samples_and_metrics_over_time(gan_run, tmp_path, vkd):
    page = tmp_path / "report.html"
    done = vkd("report", gan_run, "--output", page)
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert text.count("data:image/png;base64,") == 2
    assert "Frechet distance" in text
    assert not re.search(r"\bFID\b", text)
    assert not re.search(r"""(src|href)=["']http""", text)


def test_headings_are_in_order_and_ids_are_unique(page):
    levels = headings(page)
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
    ids = [attributes["id"] for _, attributes in Tags(page).found if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = re.findall(r'href="#([^"]+)"', page) + re.findall(r"url\(#([^)]+)\)", page)
    assert set(targets) <= set(ids)


def test_every_figure_says_in_words_what_is_seen(page):
    tags = Tags(page).found
    drawn = [attributes for tag, attributes in tags if tag == "svg"]
    assert drawn
    assert all(re.search(r"from .* to ", one["aria-label"]) for one in drawn)
    assert all(one["alt"] for tag, one in tags if tag == "img")


def test_what_an_earlier_version_did_not_record_is_said(digits_run, tmp_path):
    run = shutil.copytree(digits_run, tmp_path / "former")
    shutil.rmtree(run / "findings")
    for name in ("similarity-before.json", "similarity-after.json", "steps.jsonl"):
        (run / name).unlink()
    (run / "projection.safetensors").unlink()
    text = write_report([run], tmp_path / "r.html").read_text()
    assert text.count("Not recorded by former") == 5


def test_runs_are_compared_by_what_only_one_of_them_has(digits_run, tmp_path):
    run = shutil.copytree(digits_run, tmp_path / "other")
    write_findings(run, [Absent(title="Confusion matrix", text="There is none.")])
    text = write_report([digits_run, run], tmp_path / "r.html").read_text()
    assert "other: There is none." in text
    assert "Not recorded by other." in text


def test_names_of_runs_and_classes_are_text(digits_run, tmp_path):
    run = shutil.copytree(digits_run, tmp_path / HOSTILE.replace("/", "|"))
    picture = Picture(Image.new("RGB", (4, 4)), f"{HOSTILE} taken for {HOSTILE}")
    write_findings(run, [
        Matrix(title=HOSTILE, text=HOSTILE, row=HOSTILE, column=HOSTILE, names=[HOSTILE] * 2,
               counts=[[1, 2], [3, 4]]),
        Lines(title="Lines", text=HOSTILE, x=HOSTILE, y=HOSTILE, series={HOSTILE: ([1], [2])}),
        Pictures(title="Pictures", pictures=[picture]),
        PictureRows(title="Rows", first=HOSTILE, others=HOSTILE, rows=[[picture] * 3]),
    ])  # fmt: skip
    tags = Tags(write_report([run], tmp_path / "r.html").read_text()).found
    assert "script" not in {tag for tag, _ in tags}
    assert not any("onerror" in attributes for _, attributes in tags)
    shown = [attributes for tag, attributes in tags if tag == "img"]
    assert {one["alt"] for one in shown} == {picture.caption}
    assert all(one["src"].startswith("data:image/png;base64,") for one in shown)


def test_the_speed_of_a_run_is_shown(digits_run, tmp_path):
    run = shutil.copytree(digits_run, tmp_path / "fast")
    timing = {
        "network": "student", "runtime": "onnxruntime", "batch_size": 32, "rounds": 9,
        "latency_ms": {"median": 1.25, "p10": 1.2, "p90": 1.5}, "images_per_second": 25600.0,
    }  # fmt: skip
    record = {
        "environment": {"hardware": "some cores"}, "device": "cpu", "threads": 2,
        "timings": [timing], "notes": ["not compiled"],
    }  # fmt: skip
    (run / "bench.json").write_text(json.dumps(record))
    text = write_report([run], tmp_path / "r.html").read_text()
    for part in ("student, onnxruntime", "1.25", "1.2 to 1.5", "some cores", "not compiled"):
        assert part in text, part


def test_findings_read_as_they_were_written(tmp_path):
    found = [
        Absent(title="a", text="why"),
        Lines(title="l", x="x", y="y", series={"one": ([0.0, 1.0], [2.0, 3.0])}),
        Matrix(title="m", row="r", column="c", names=["a", "b"], counts=[[1, 2], [3, 4]]),
    ]
    write_findings(tmp_path, [*found, Pictures(title="p", pictures=[])])
    write_findings(tmp_path, found)
    assert read_findings(tmp_path) == found
    assert read_findings(tmp_path / "elsewhere") is None


def test_pictures_of_findings_keep_their_pixels(tmp_path):
    image = Image.effect_noise((9, 7), 60)
    write_findings(tmp_path, [Pictures(title="p", pictures=[Picture(image, "noise")])])
    (found,) = read_findings(tmp_path)
    assert found.pictures[0].image.tobytes() == image.tobytes()
    assert found.pictures[0].caption == "noise"


def test_the_marks_of_a_logarithmic_axis_are_numbers():
    losses = [([*range(10)], [30 * 0.5**epoch for epoch in range(10)])]
    plot = line_chart({"$one$": losses, "two": losses}, "epoch", "loss", "Loss.", log=True).svg
    marks = re.findall(r">([^<>]+)</text>", plot)
    assert {"10", "1", "0.1", "$one$"} <= set(marks)
    assert [mark for mark in marks if "$" in mark] == ["$one$"]


def test_a_line_is_told_by_more_than_its_colour():
    lines = {f"run {place}": [([1, 2], [place, place + 1])] for place in range(7)}
    plot = line_chart(lines, "x", "y", "Lines.").svg
    drawn = re.findall(r'<path d="[^"]+" clip-path="[^"]+"([^<>]+)', plot)
    colours = {re.search(r'stroke="([^"]+)"', style)[1] for style in drawn}
    assert {f"var(--series-{place})" for place in range(7)} <= colours
    assert len({re.search('stroke-dasharray="([^"]+)"', s)[0] for s in drawn if "dash" in s}) >= 3
    assert len(set(re.findall(r'<path id="(m[0-9a-f]+)"', plot))) >= 7


def test_a_page_is_whole_where_sections_are_empty(tmp_path):
    sections = [Section("None"), Section("Some", [Table("T", ["a"], [["1"]], best=0)])]
    text = write_page(tmp_path / "p.html", "Title", "", sections).read_text()
    assert headings(text) == [1, 2]
    assert "best</span>" in text


@pytest.mark.parametrize("scheme", ["--ink", "--series-3"])
def test_drawings_follow_the_colours_of_the_page(scheme, tmp_path):
    drawing = line_chart({str(n): [([1], [1])] for n in range(4)}, "x", "y", "Lines.")
    section = Section("One", [Drawings([drawing])])
    text = write_page(tmp_path / "p.html", "Title", "", [section]).read_text()
    assert text.count(f"  {scheme}:") + text.count(f" {scheme}:") >= 2
    assert f"var({scheme})" in drawing.svg


def test_projections_of_several_layers_have_their_names(digits_run, tmp_path):
    run = shutil.copytree(digits_run, tmp_path / "run")
    weights = {name: torch.eye(8, 4) for name in ("patch_0", "neck")}
    save_file(weights, run / "projection.safetensors")
    text = write_report([run], tmp_path / "report.html").read_text()
    assert "run: patch 0" in text
    assert "4 → 8" in text
