"""The wheel and the source archive: what they hold, and that the demo runs from the wheel."""

import json
import os
import re
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

import vkd
from vkd.recipe import recipe_names

ROOT = Path(__file__).parent.parent
# What uv says where an index is needed and none can be reached.
_UNREACHABLE = re.compile(
    r"failed to fetch|error sending request|could not connect|dns error|network connectivity"
    r"|network was disabled",
    re.IGNORECASE,
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("uv") is None, reason="uv is not installed"),
]


def run(*command, cwd=None):
    """Run a command without this checkout's environment, and return what it prints."""
    ours = ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONHOME")
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, cwd=cwd, env=environment
    )
    if done.returncode and _UNREACHABLE.search(done.stderr):
        pytest.skip(f"no package index can be reached: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def files_of_the_checkout(*below):
    """The files that git knows or would add."""
    listed = run("git", "ls-files", "-z", "-co", "--exclude-standard", "--", *below, cwd=ROOT)
    return {name for name in listed.split("\0") if name and (ROOT / name).is_file()}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder of the wheel and the source archive, built of a copy of the checkout."""
    folder = tmp_path_factory.mktemp("built")
    for name in files_of_the_checkout("."):
        target = folder / "tree" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)
    run("uv", "build", "--quiet", "--out-dir", folder / "dist", folder / "tree")
    return folder / "dist"


def test_the_wheel_holds_the_package_and_nothing_else(built):
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = (name for name in names if name.endswith("METADATA"))
        text = archive.read(metadata).decode()
    about = metadata.split("/")[0]
    package = {name.removeprefix("src/") for name in files_of_the_checkout("src")}
    assert {name for name in names if not name.startswith(about)} == package
    assert {"vkd/py.typed", "vkd/recipes/digits.yaml", "vkd/data/digits_split.json",
            "vkd/reporting/page.html"} <= names  # fmt: skip
    assert f"{about}/licenses/LICENSE" in names
    assert f"\nVersion: {vkd.__version__}\n" in text
    assert "\nLicense-Expression: Apache-2.0\n" in text


def test_the_source_archive_holds_what_builds_it_and_nothing_else(built):
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {part.name.partition("/")[2] for part in opened.getmembers() if part.isfile()}
    written = {"PKG-INFO", "setup.cfg"}
    needed = {"pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"}
    held = {name for name in names if not name.startswith("src/vkd.egg-info/")}
    assert held == files_of_the_checkout("src") | needed | written


def test_the_demo_runs_from_the_wheel_alone(built, tmp_path):
    (wheel,) = built.glob("*.whl")
    environment, work = tmp_path / "environment", tmp_path / "work"
    work.mkdir()
    run("uv", "venv", "--quiet", environment)
    python, command = (environment / "bin" / name for name in ("python", "vkd"))
    run("uv", "pip", "install", "--quiet", "--python", python, "--constraint",
        ROOT / "constraints.txt", wheel)  # fmt: skip
    assert run(command, "--version", cwd=work) == f"vkd {vkd.__version__}\n"
    listed = run(command, "recipes", cwd=work)
    assert [line.split()[0] for line in listed.splitlines()] == recipe_names()
    run(command, "demo", "--seeds", 2, "--epochs", 1, "--output", "shown", cwd=work)
    methods = json.loads((work / "shown" / "results.json").read_text())["methods"]
    assert {"none", "logit", "linear", "vkd"} <= methods.keys()
    assert all(len(method["accuracy"]) == 2 for method in methods.values())
    assert (
        "<svg" in (work / "shown" / "report.html").read_text()
        or "data:image" in (work / "shown" / "report.html").read_text()
    )
    code = "import vkd, sys; print(vkd.__file__)"
    assert str(environment) in run(python, "-c", code, cwd=work)
