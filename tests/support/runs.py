"""Run folders that several tests read, and comparing them."""

import hashlib
import json

import torch
from safetensors.torch import load_file

from support.commands import run_here
from support.gan import small_gan
from vkd.api.train import train
from vkd.recipe import recipe
from vkd.training.records import read_metrics, read_records


def digits_teacher_run(folder):
    """A digits teacher after three epochs."""
    config = recipe("digits-teacher", epochs=3, device="cpu", trackers="")
    train(config, folder, show=False)


def short_digits_run(folder, teacher):
    """A distilled digits student after twelve epochs, by the command."""
    done = run_here(
        "train", "digits", "--output", folder, "--epochs", 12, "--lr", 0.004, "--device", "cpu",
        "--teacher-checkpoint", teacher,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (folder / "stderr.txt").write_text(done.stderr)


def digits_files(folder, run):
    """The files of a digits student, and what the commands printed."""
    folder.mkdir()
    for name in ("float.onnx", "float.pt2", "int8.onnx"):
        flags = ["--int8"] if name == "int8.onnx" else []
        done = run_here("export", "--checkpoint", run, folder / name, *flags)
        assert done.returncode == 0, done.stderr
        (folder / f"{name}.txt").write_text(done.stdout)


def small_gan_run(folder, teacher):
    """A small GAN after two epochs."""
    networks = {"teacher_checkpoint": str(teacher), "extractor_checkpoint": str(teacher)}
    train(small_gan(**networks), folder, show=False)


# What a clock or the machine decides.
TIMES = {"seconds", "images_per_second", "waiting", "memory_gb"}


def records_of(run):
    """The records of a run's epochs and updates, without times."""
    found = read_metrics(run)
    if (run / "steps.jsonl").is_file():
        found += read_records(run / "steps.jsonl", "update")
    return [{key: record[key] for key in record.keys() - TIMES} for record in found]


def require_equal_runs(whole, other):
    """Check that two runs have the same weights, bit for bit, and the same records."""
    names = sorted(file.name for file in whole.glob("*.safetensors"))
    assert names == sorted(file.name for file in other.glob("*.safetensors"))
    for name in names:
        first, second = load_file(whole / name), load_file(other / name)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first), name
    assert records_of(whole) == records_of(other)


def reseal(state):
    """Let the manifest of a state that was changed say what is there."""
    files = {
        file.name: {
            "bytes": file.stat().st_size, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()
        }
        for file in state.iterdir()
        if file.name != "manifest.json"
    }  # fmt: skip
    (state / "manifest.json").write_text(json.dumps({"files": files}))
