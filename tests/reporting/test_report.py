"""Reports of runs are one page that needs nothing else."""

import re

from vkd.cli import main
from vkd.reporting.plots import curves


def test_report_is_one_self_contained_page(vkd, digits_run, digits_teacher, tmp_path):
    page = tmp_path / "report.html"
    assert vkd("report", digits_run, digits_teacher, "--output", page).returncode == 0
    text = page.read_text()
    assert text.count("<svg") >= 3
    assert not re.search(r'(src|href)="(?!#)', text)
    for part in ("Orthogonality", "feature_weight", "torch:", "validation accuracy"):
        assert part in text
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


def test_the_marks_of_a_logarithmic_axis_are_numbers():
    losses = [{"epoch": epoch, "train": {"loss": 30 * 0.5**epoch}} for epoch in range(10)]
    plot = curves({"$one$": [losses]}, {"$one$": "#000000"}, "train", "loss", "loss")
    marks = re.findall(r">([^<>]+)</text>", plot)
    assert {"10", "1", "0.1", "$one$"} <= set(marks)
    assert [mark for mark in marks if "$" in mark] == ["$one$"]
