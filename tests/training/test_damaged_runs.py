"""Run folders that are damaged, or that cannot be made: one sentence each, and nothing changed."""

import json
import os
import shutil

import pytest
import torch
from safetensors.torch import save_file

from support.commands import run_here

FLAGS = ("--method", "none", "--warmup-epochs", "0", "--device", "cpu", "--batch-size", "256",
         "--trackers", "", "--epochs", "2", "--checkpoint-every", "1")  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    run = tmp_path_factory.mktemp("damaged") / "run"
    done = run_here("train", "digits", "--output", run, *FLAGS)
    assert done.returncode == 0, done.stderr
    save_file({"weight": torch.eye(3)}, run / "projection.safetensors")
    return run


@pytest.fixture
def run(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "run")


def one_sentence(done, *words):
    """Check that a command failed with a sentence that has these words."""
    assert done.returncode in (1, 2), done.stdout + done.stderr
    last = done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert len(last.replace("/tmp/pytest-of-root", "")) <= 420  # test folders have long names
    for word in words:
        assert word in last
    return last


def snapshot(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def gone(file):
    file.unlink()


def truncated(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def folder(file):
    file.unlink()
    file.mkdir()


def holding(content):
    def write(file):
        file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())

    return write


STATE = "checkpoints/epoch-00002"
BINARY = bytes(range(256))


@pytest.mark.parametrize(
    ("name", "damage", "words"),
    [
        ("metrics.jsonl", holding(BINARY), ["metrics.jsonl"]),
        ("metrics.jsonl", folder, ["metrics.jsonl"]),
        ("metrics.jsonl", holding(b"garbage\n"), ["metrics.jsonl, line 1"]),
        ("metrics.jsonl", holding(b"{}\n"), ["metrics.jsonl, line 1", "epoch"]),
        ("steps.jsonl", holding(b'{"update": "one"}\n'), ["steps.jsonl, line 1", "update"]),
        ("steps.jsonl", holding(BINARY), ["steps.jsonl"]),
        ("sources.json", holding(b"[]"), ["sources.json"]),
        ("recipe.yaml", holding(BINARY), ["recipe.yaml"]),
        ("recipe.yaml", holding(b"- a"), ["recipe.yaml"]),
        ("recipe.yaml", holding(b"task: classification\ncolour: red"), ["recipe.yaml", "colour"]),
        ("recipe.yaml", holding(b"task: detection"), ["--output", "detection"]),
    ],
)
def test_a_damaged_run_is_not_resumed_and_stays_as_it_is(run, name, damage, words):
    if name == "steps.jsonl":
        (run / name).touch()
    damage(run / name)
    before = snapshot(run)
    one_sentence(run_here("train", "digits", "--output", run, *FLAGS, "--resume"), *words)
    assert snapshot(run) == before


def test_checkpoints_that_are_no_folders(run):
    shutil.rmtree(run / "checkpoints")
    (run / "checkpoints").mkdir()
    (run / STATE).write_text("a file")
    one_sentence(run_here("train", "digits", "--output", run, *FLAGS, "--resume"), STATE)
    shutil.rmtree(run / "checkpoints")
    (run / "checkpoints").write_text("a file")
    one_sentence(run_here("train", "digits", "--output", run, *FLAGS, "--resume"), "checkpoints")


def test_folders_of_others_among_the_checkpoints_are_left_alone(run):
    for name in ("epoch-mine", "epoch-00001-backup", "mine"):
        (run / "checkpoints" / name).mkdir()
    done = run_here("train", "digits", "--output", run, *FLAGS, "--resume")
    assert done.returncode == 0, done.stderr
    assert len(list((run / "checkpoints").iterdir())) == 5


def test_half_a_last_record_is_left_out_and_half_another_is_not(run):
    text = (run / "metrics.jsonl").read_text()
    (run / "metrics.jsonl").write_text(text + '{"epoch": 3, "upd')
    report = run.parent / "report.html"
    assert run_here("report", run, "--output", report).returncode == 0
    (run / "metrics.jsonl").write_text('{"epoch": 1, "upd\n' + text)
    one_sentence(run_here("report", run, "--output", run / "r.html"), "metrics.jsonl, line 1")


@pytest.mark.parametrize(
    ("name", "damage", "words"),
    [
        ("metrics.jsonl", holding(b"garbage\n"), ["metrics.jsonl, line 1"]),
        ("metrics.jsonl", holding(b"garbage}\n"), ["metrics.jsonl, line 1"]),
        ("metrics.jsonl", holding(b"[1]\n"), ["metrics.jsonl, line 1"]),
        ("metrics.jsonl", holding(b"7\n"), ["metrics.jsonl, line 1"]),
        ("metrics.jsonl", holding(b'{"epoch": 1}\n'), ["line 1", "seconds"]),
        ("metrics.jsonl", holding(b'{"epoch": "a", "seconds": 1}\n'), ["line 1", "epoch"]),
        ("metrics.jsonl", holding(b'{"epoch": 1, "seconds": 1, "validation": 7}\n'),
         ["validation"]),
        ("metrics.jsonl", holding(b'{"epoch": 1, "seconds": 1, "validation": {"accuracy": "a"}}'),
         ["validation"]),
        ("metrics.jsonl", holding(b'{"a":' * 100_000 + b"\n"), ["metrics.jsonl"]),
        ("metrics.jsonl", holding(BINARY), ["metrics.jsonl"]),
        ("metrics.jsonl", holding(b""), ["no finished epoch"]),
        ("metrics.jsonl", gone, ["metrics.jsonl"]),
        ("recipe.yaml", holding(BINARY), ["recipe.yaml"]),
        ("recipe.yaml", gone, ["recipe.yaml"]),
        ("projection.safetensors", holding(b""), ["projection.safetensors"]),
        ("projection.safetensors", holding(BINARY), ["projection.safetensors"]),
        ("projection.safetensors", lambda f: save_file({}, f), ["damaged"]),
        ("projection.safetensors", lambda f: save_file({"weight": torch.ones(2)}, f), ["matrix"]),
        ("projection.safetensors",
         lambda f: save_file({"weight": torch.full((2, 2), torch.nan)}, f), ["finite"]),
        ("projection.safetensors",
         lambda f: save_file({"weight": torch.zeros(0, 3)}, f), ["matrix"]),
        ("findings/findings.json", holding(b"garbage"), ["findings.json is damaged"]),
        ("findings/findings.json", holding(b'[{"kind": "Lines"}]'), ["findings.json is damaged"]),
        ("findings/0000.png", holding(b"x"), ["findings.json is damaged"]),
        ("findings/0000.png", gone, ["findings.json is damaged"]),
        ("similarity-after.json", holding(b"{}"), ["similarity-after.json is damaged"]),
        ("similarity-before.json", holding(b"x"), ["similarity-before.json is damaged"]),
        ("bench.json", holding(b'{"timings": 7}'), ["bench.json is damaged"]),
        ("steps.jsonl", holding(b"x\n"), ["steps.jsonl, line 1"]),
    ],
)  # fmt: skip
def test_a_report_of_a_damaged_run(run, name, damage, words):
    damage(run / name)
    output = run.parent / "report.html"
    one_sentence(run_here("report", run, "--output", output), *words)
    assert not output.exists()


@pytest.mark.parametrize("name", ["x\udcff", r"$\input{/etc/passwd}$", "a_b^c", "_x", "<b>"])
def test_runs_of_odd_names_are_reported(run, name):
    if not name.isprintable():
        (run / "projection.safetensors").unlink()  # whose library opens no such path
    shutil.move(run, run.parent / name)
    (run.parent / name / "samples").mkdir(exist_ok=True)
    (run.parent / name / "samples" / "epoch-mine.png").write_bytes(b"x")
    output = run.parent / "report.html"
    done = run_here("report", run.parent / name, "--output", output)
    assert done.returncode == 0, done.stderr


def test_where_a_report_cannot_be_written(run):
    flags = ("report", run, "--overwrite", "--output")
    one_sentence(run_here(*flags, run), "--output", "is a folder")
    one_sentence(run_here(*flags, run / "recipe.yaml" / "report.html"), "recipe.yaml")


@pytest.mark.parametrize(
    "place", ["/dev/null/run", "/proc/run", "link", os.fsdecode(b"x\xff"), "file/run"]
)
def test_where_a_run_cannot_be_made(tmp_path, place):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    done = run_here("train", "digits", "--output", tmp_path / place, *FLAGS)
    one_sentence(done, "--output")
