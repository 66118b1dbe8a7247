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
    names = "attention,projection,waiting,detectors,precision,fashion_mnist"
    flags = ("--only", names, "--fashion-mnist", fashion_mnist)
    done, content, page = quick(tmp_path / "gpu", *flags, hidden=BEYOND, folder=tmp_path)
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
    assert any("inference" in what and row["value"] for what, row in checks["detectors"].items())


CHECKS = {
    "raising": "yield measured('first', 1.0, 'ms')\n    raise ValueError('broken\\nand more')",
    "dying": "yield measured('first', 1.0, 'ms')\n    os.kill(os.getpid(), 9)",
    "hanging": "yield measured('first', 1.0, 'ms')\n    time.sleep(600)",
    "worse": "yield limited('error', 2.0, 1.0)\n    yield limited('error', math.nan, 1.0)",
    "well": "yield limited('error', 0.5, 1.0)",
}
RUN = """
import sys
sys.path[:0] = [{benchmarks!r}, {folder!r}]
import gpu
from gpu_checks import runner
from gpu_checks.catalogue import Check
runner._PATIENCE = 1.0
gpu.CHECKS = {{n: Check(n, n.title(), 1 if n == "hanging" else 20) for n in {names}}}
sys.exit(gpu.main())
"""


def run_checks(folder, *arguments):
    """Run the checks above; returns the process, the rows of each and the page."""
    head = "import math, os, time\nfrom gpu_checks.rows import limited, measured\n\n"
    for name, body in CHECKS.items():
        (folder / f"{name}.py").write_text(f"{head}\ndef check(context):\n    {body}\n")
    script = RUN.format(benchmarks=str(BENCHMARKS), folder=str(folder), names=list(CHECKS))
    flags = ("--quick", "--output", folder / "gpu", *arguments)
    done = run_python("-c", script, *flags, CUDA_VISIBLE_DEVICES="")
    content = json.loads((folder / "gpu.json").read_text())
    rows = {name: check["rows"] for name, check in content["checks"].items()}
    return done, rows, (folder / "gpu.md").read_text()


@pytest.mark.slow
def test_checks_that_break_do_not_stop_the_others(tmp_path):
    done, found, page = run_checks(tmp_path)
    assert done.returncode == 1
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
    assert "FAILED  Raising: the whole check: ValueError: broken" in done.stdout
    assert "1 passed, 5 failed, 3 measured, 0 skipped" in done.stdout
    assert page.count("**FAILED**") == 5


def test_what_finds_no_time_is_skipped_and_named(tmp_path):
    done, found, _ = run_checks(tmp_path, "--minutes", "0.3")
    assert done.returncode == 0
    for rows in found.values():
        assert [row["outcome"] for row in rows] == ["skipped"]
        assert rows[0]["note"] == "no time was left"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("--only", "attention,speed"), "found 'speed'"),
        (("--minutes", "0"), "--minutes must be above 0, found 0"),
    ],
)
def test_wrong_flags_are_refused(flags, expected):
    done = run_python(BENCHMARKS / "gpu.py", *flags)
    assert done.returncode == 2
    assert expected in done.stderr
