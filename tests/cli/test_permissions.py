"""Files get the permissions of the user's umask, whichever library writes them."""

import os

import pytest

from support.commands import run_here


@pytest.fixture(params=[0o027, 0o077])
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def modes(*places):
    """The permissions of files and folders, but of states, by path."""
    files = [file for place in places for file in (place, *place.rglob("*"))]
    kept = [file for file in files if "checkpoints" not in file.parts]
    return {file: file.stat().st_mode & 0o777 for file in kept}


@pytest.mark.slow
def test_of_all_that_commands_write(tmp_path, umask):
    run, report = tmp_path / "run", tmp_path / "report.html"
    weights, graph, program = (tmp_path / f"out.{s}" for s in ("safetensors", "onnx", "pt2"))
    hub = tmp_path / "hub"
    for words in (
        ("train", "digits", "--method", "none", "--epochs", "1", "--warmup-epochs", "0",
         "--device", "cpu", "--trackers", "", "--output", run),
        ("report", run, "--output", report),
        ("convert", run / "model.safetensors", weights),
        ("export", "--checkpoint", run, graph),
        ("export", "--checkpoint", run, program),
        ("publish", "--checkpoint", run, "--output", hub),
    ):  # fmt: skip
        done = run_here(*words)
        assert done.returncode == 0, done.stderr
    found = modes(run, report, weights, graph, program, hub)
    assert len(found) > 15
    expected = {f: (0o777 if f.is_dir() else 0o666) & ~umask for f in found}
    assert found == expected
