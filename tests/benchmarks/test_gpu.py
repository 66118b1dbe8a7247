"""benchmarks/gpu.py on the CPU, in real processes."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from support.commands import run_python

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
# As on a machine that has no more than the command needs.
HIDING = """
import sys
from importlib.machinery import PathFinder

class Hiding(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        hidden = {names}
        return None if {{name, name.partition(".")[0]}} & hidden else super().find_spec(name, path)

sys.meta_path[sys.meta_path.index(PathFinder)] = Hiding
"""
BEYOND = {
    "comet_ml", "datasets", "defusedxml", "faster_coco_eval", "jsonargparse", "matplotlib",
    "pandas", "pyarrow", "rich", "scipy", "sklearn", "tensorboard", "torch_fidelity",
    "transformers", "triton",
}  # fmt: skip


@pytest.fixture(scope="module")
def fashion_mnist(tmp_path_factory):
    """A folder of IDX files."""
    folder = tmp_path_factory.mktemp("fashion-mnist")
    generator = np.random.default_rng(0)
    for name, count in (("train", 7000), ("t10k", 200)):
        images = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
            (folder / f"{name}-{kind}-ubyte").write_bytes(header + array.tobytes())
    return folder


def quick(output, *arguments, hidden=frozenset(), folder=None):
    """Run the command; returns the process, the JSON content and the page."""
    environment = {"CUDA_VISIBLE_DEVICES": ""}
    if hidden:
        (folder / "sitecustomize.py").write_text(HIDING.format(names=set(hidden)))
        environment["PYTHONPATH"] = str(folder)
    done = run_python(
        BENCHMARKS / "gpu.py", "--quick", "--output", output, *arguments, **environment
    )
    assert output.with_suffix(".json").is_file(), done.stderr
    content = json.loads(output.with_suffix(".json").read_text())
    return done, content, output.with_suffix(".md").read_text()


@pytest.mark.slow
def test_every_check_runs_quickly_on_the_cpu(tmp_path, fashion_mnist):
    done, content, page = quick(tmp_path / "made" / "gpu", "--fashion-mnist", fashion_mnist)
    assert done.returncode == 0, done.stdout + done.stderr
    assert content["quick"]
    assert content["environment"].keys() >= {"date", "vkd", "torch", "timm", "hardware", "triton"}
    assert list(content["checks"]) == [
        "attention", "projection", "waiting", "graph", "training", "detectors", "precision",
        "fashion_mnist",
    ]  # fmt: skip
    rows = [row for check in content["checks"].values() for row in check["rows"]]
    assert content["counts"]["failed"] == 0
    assert sum(content["counts"].values()) == len(rows)
    for row in rows:
        assert row["outcome"] in ("measured", "passed", "skipped")
        if row["outcome"] == "measured":
            assert math.isfinite(row["value"])
        if row["outcome"] == "skipped":
            assert row["note"].startswith("needs CUDA")
    # Of each check a number that can be known.
    for name in ("attention", "projection", "precision"):
        limited = [row for row in content["checks"][name]["rows"] if row["limit"] is not None]
        assert limited
        assert all(row["value"] <= row["limit"] for row in limited)
    ways = {row["what"]: row for row in content["checks"]["training"]["rows"]}
    alone, network = ways["batch 16, student alone"], ways["batch 16, VkD with the network"]
    assert network["times"] == pytest.approx(network["value"] / alone["value"])
    assert sum(line.startswith("| ") for line in page.splitlines()) == len(rows) + 2
    for check in content["checks"].values():
        assert f"**{check['title']}**" in page


@pytest.mark.slow
def test_what_needs_a_missing_package_is_skipped_by_its_name(tmp_path, fashion_mnist):
    done, content, page = quick(
        tmp_path / "gpu", "--fashion-mnist", fashion_mnist, hidden=BEYOND, folder=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    checks = {
        name: {row["what"]: row for row in check["rows"]}
        for name, check in content["checks"].items()
    }
    assert checks["attention"]["float32, errors"]["note"] == "triton is not installed"
    for check, what in (("waiting", "detection"), ("detectors", "vidt_digits, training")):
        assert checks[check][what]["outcome"] == "skipped"
        assert checks[check][what]["note"] == "faster_coco_eval is not installed"
    assert "faster_coco_eval is not installed" in page
    exact = next(iter(checks["precision"].values()))
    assert exact["note"].startswith("made images, as sklearn is not installed")
    interval = checks["fashion_mnist"]["VkD minus no distillation"]
    assert interval["note"] == "no interval, as scipy is not installed"
    # The rest runs.
    assert content["checks"]["projection"]["outcome"] == "passed"
    assert content["checks"]["training"]["outcome"] == "measured"
    assert any("inference" in what and row["value"] for what, row in checks["detectors"].items())


def test_a_failure_is_told_and_ends_with_1(tmp_path):
    done, content, page = quick(
        tmp_path / "gpu", "--only", "projection", hidden={"vkd.projection"}, folder=tmp_path
    )
    assert done.returncode == 1
    assert content["checks"]["projection"]["outcome"] == "failed"
    assert "FAILED  projection: " in done.stdout
    assert "**FAILED**" in page


CHECKS = {
    "raising": "yield measured('first', 1.0, 'ms')\n    raise ValueError('broken\\nand more')",
    "dying": "yield measured('first', 1.0, 'ms')\n    os.kill(os.getpid(), 9)",
    "hanging": "yield measured('first', 1.0, 'ms')\n    time.sleep(600)",
    "worse": "yield limited('error', 2.0, 1.0)\n    yield limited('error', math.nan, 1.0)",
    "well": "yield limited('error', 0.5, 1.0)",
}
RUN = """
import json, sys
from dataclasses import asdict
sys.path[:0] = [{benchmarks!r}, {folder!r}]
from gpu_checks import runner
from gpu_checks.catalogue import Check
from gpu_checks.context import Settings
runner._PATIENCE = 1.0
checks = [Check(name, name, 1 if name == "hanging" else 20) for name in {names}]
found = runner.run(checks, Settings(quick=True), {seconds})
print(json.dumps({{result.check.name: [asdict(row) for row in result.rows] for result in found}}))
"""


def run_checks(folder, seconds):
    """Run the checks above; returns the rows of each."""
    head = "import math, os, time\nfrom gpu_checks.rows import limited, measured\n\n"
    for name, body in CHECKS.items():
        (folder / f"{name}.py").write_text(f"{head}\ndef check(context):\n    {body}\n")
    script = RUN.format(
        benchmarks=str(BENCHMARKS), folder=str(folder), names=list(CHECKS), seconds=seconds
    )
    done = run_python("-c", script, CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_checks_that_break_do_not_stop_the_others(tmp_path):
    found = run_checks(tmp_path, seconds=200)
    for name in ("raising", "dying", "hanging"):
        first, last = found[name]
        assert (first["what"], first["outcome"]) == ("first", "measured")
        assert last["outcome"] == "failed"
    assert found["raising"][1]["note"] == "ValueError: broken"
    assert found["dying"][1]["note"] == "the process ended with -9"
    assert "hangs" in found["hanging"][1]["note"]
    assert [row["outcome"] for row in found["worse"]] == ["failed", "failed"]
    assert found["worse"][1]["value"] is None
    assert [row["outcome"] for row in found["well"]] == ["passed"]


def test_what_finds_no_time_is_skipped_and_named(tmp_path):
    found = run_checks(tmp_path, seconds=3)
    for rows in found.values():
        assert [row["outcome"] for row in rows] == ["skipped"]
        assert "no time was left" in rows[0]["note"]


def test_wrong_flags_are_refused(tmp_path):
    for flags, expected in (
        (("--only", "attention,speed"), "found 'speed'"),
        (("--minutes", "0"), "--minutes must be above 0, found 0"),
    ):
        done = run_python(BENCHMARKS / "gpu.py", *flags)
        assert done.returncode == 2
        assert expected in done.stderr
