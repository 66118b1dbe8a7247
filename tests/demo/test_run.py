"""The demo."""

import json

import pytest

from vkd.cli import main
from vkd.demo.results import grid_cells


@pytest.mark.slow
def test_demo_writes_its_contract(vkd, tmp_path):
    done = vkd("demo", "--output", "demo", "--seeds", 2, "--epochs", 1, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "demo" / "results.json").read_text())
    methods = results["methods"]
    assert list(methods)[:4] == ["none", "logit", "linear", "vkd"]
    assert all(len(method["accuracy"]) == 2 for method in methods.values())
    assert len(grid_cells(results)) == 12
    assert "95 % interval" in done.stdout
    assert (tmp_path / "demo" / "report.html").read_text().count("<svg") >= 4
    assert main(["demo", "--output", str(tmp_path / "demo")]) == 2
