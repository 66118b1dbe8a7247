"""The demo."""

import json

import pytest

from vkd.cli import main
from vkd.demo.results import grid_cells


@pytest.mark.slow
@pytest.mark.parametrize("grid", [False, True])
def test_demo_writes_its_contract(vkd, tmp_path, grid):
    more = ("--seeds", 2, "--grid", "true") if grid else ()
    done = vkd("demo", "--output", "demo", "--epochs", 1, *more, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "demo" / "results.json").read_text())
    methods = results["methods"]
    assert list(methods)[:4] == ["none", "logit", "linear", "vkd"]
    assert {len(method["accuracy"]) for method in methods.values()} == {2 if grid else 3}
    assert len(grid_cells(results)) == (12 if grid else 0)
    assert len(methods) == (14 if grid else 4)
    assert ("Projection x normalisation" in done.stdout) == grid
    assert 0 < results["teacher"] <= 100
    assert "95 % interval" in done.stdout
    assert (tmp_path / "demo" / "report.html").read_text().count("<svg") >= 4
    assert main(["demo", "--output", str(tmp_path / "demo")]) == 2
