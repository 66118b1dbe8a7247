"""A disk that is full or read-only is a sentence, and after room is made the same command works."""

import json
import subprocess

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

import vkd
from support.canvases import few_canvases
from support.commands import run_here
from support.photographs import write_folder
from vkd.api.train import train
from vkd.recipe import read_recipe
from vkd.tensor_files import save_tensors

ON_CPU = ("--device", "cpu")
BEGIN = ("--epochs", "1", "--warmup-epochs", "0", "--trackers", "", *ON_CPU)
GAN = ("--channels", "4", "--noise-dim", "8", "--samples", "100", "--fraction", "0.2")
# What each command is given before the name of what it writes.
COMMANDS = {
    "train": ("train", "digits", "--teacher-checkpoint", "TEACHER", *BEGIN, "--output"),
    "train a generator": ("train", "gan-digits", *GAN, "--teacher-checkpoint", "TEACHER",
                          "--extractor-checkpoint", "TEACHER", *BEGIN, "--output"),
    "train an embedding": ("train", "digits-embedding", "--teacher-checkpoint", "TEACHER", *BEGIN,
                           "--output"),
    "report": ("report", "RUN", "--output"),
    "export .onnx": ("export", "--checkpoint", "RUN"),
    "export .pt2": ("export", "--checkpoint", "RUN"),
    "convert .safetensors": ("convert", "RUN/model.safetensors"),
    "publish": ("publish", "--checkpoint", "RUN", "--output"),
    "cache": ("cache", "digits", "--teacher-checkpoint", "TEACHER", *ON_CPU, "--output"),
    "predict .jsonl": ("predict", "--checkpoint", "RUN", *["PICTURE"] * 300, "--output"),
    "predict .csv": ("predict", "--checkpoint", "RUN", *["PICTURE"] * 300, "--output"),
    "generate .png": ("predict", "--checkpoint", "GAN", "--count", "100", "--output"),
    "generate a folder": ("predict", "--checkpoint", "GAN", "--count", "5", "--output"),
    "draw boxes": ("predict", "--checkpoint", "DETECTOR", "--threshold", "0.01", "PICTURE",
                   "--output"),
    "embed .npy": ("predict", "--checkpoint", "EMBEDDING", *["PICTURE"] * 300, "--output"),
    "search .html": ("search", "--checkpoint", "EMBEDDING", "--index", "FOLDER", "PICTURE",
                     "--output"),
    "search .png": ("search", "--checkpoint", "EMBEDDING", "--index", "FOLDER", "PICTURE",
                    "--output"),
    "eval .json": ("eval", "--checkpoint", "DETECTOR", *ON_CPU, "--predictions"),
    "bench .json": ("bench", "--checkpoint", "RUN", "--batch-sizes", "1", "--rounds", "1",
                    "--onnx", "false", "--output"),
    "init .yaml": ("init", "--measure", "false", "--task", "classification", "--data_path", "DATA",
                   "--teacher", "resnet10t", "--student", "test_vit", "--teacher-checkpoint",
                   "WEIGHTS", "--epochs", "1", "--output"),
    "demo": ("demo", "--seeds", "2", "--epochs", "1", "--output"),
    "compare": ("compare", "digits", "--methods", "none,kd", "--seeds", "1", "--processes", "1",
                "--teacher-checkpoint", "TEACHER", *BEGIN[:4], *ON_CPU, "--output"),
}  # fmt: skip
# What fits on the smallest disk, or takes long, is tried on a read-only one alone.
SMALL = {"bench .json", "search .png", "init .yaml", "demo"}


@pytest.fixture(scope="module")
def places(tmp_path_factory, digits_run, digits_teacher, gan_run):
    """What the words in capitals stand for."""
    folder = tmp_path_factory.mktemp("disks")
    (folder / "pictures").mkdir()
    for index in range(12):
        pixels = (load_digits().images[index] / 16 * 255).astype(np.uint8)
        Image.fromarray(pixels).resize((96, 96)).save(folder / "pictures" / f"{index}.png")
    detector = folder / "detector.safetensors"
    metadata = {"recipe": json.dumps(dict(read_recipe("digits-detection")))}
    save_tensors(vkd.create_model("vidt_digits").state_dict(), detector, metadata)
    train(
        "digits-embedding", folder / "embedding", teacher_checkpoint=str(digits_teacher), epochs=1,
        warmup_epochs=0, device="cpu", trackers="", show=False,
    )  # fmt: skip
    write_folder(folder / "data")
    torch.save(vkd.create_model("resnet10t", num_classes=3).state_dict(), folder / "teacher.pth")
    return {
        "RUN": digits_run, "TEACHER": digits_teacher, "GAN": gan_run, "DETECTOR": detector,
        "EMBEDDING": folder / "embedding", "PICTURE": folder / "pictures" / "0.png",
        "FOLDER": folder / "pictures", "DATA": folder / "data", "WEIGHTS": folder / "teacher.pth",
    }  # fmt: skip


def run(name, places, output):
    words = [*COMMANDS[name], output]
    for capital, place in places.items():
        words = [str(word).replace(capital, str(place)) for word in words]
    with few_canvases(12, 8, 8):
        return run_here(*words)


def target(folder, name):
    suffix = name.rpartition(" ")[2]
    return folder / ("out" + suffix if suffix.startswith(".") else "out")


def one_sentence(done, codes):
    last = done.stderr.splitlines()[-1]
    assert done.returncode in codes, done.stderr
    assert last.startswith("vkd: ")
    assert len(last) <= 300
    return last


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in SMALL])
def test_a_full_disk_and_the_same_command_after_making_room(name, places, small_disk):
    resize(small_disk, "8k")
    kept = small_disk / "kept"
    kept.write_text("kept")
    done = run(name, places, target(small_disk, name))
    assert "No space left" in one_sentence(done, {1}) or "GB left" in done.stderr
    assert not [path for path in small_disk.rglob("*") if ".partial" in path.name]
    assert kept.read_text() == "kept"
    resize(small_disk, "64m")
    again = run(name, places, target(small_disk, name))
    if again.returncode and "--resume" in again.stderr:
        output = target(small_disk, name)
        words = [*COMMANDS[name], output, "--resume"]
        for capital, place in places.items():
            words = [str(word).replace(capital, str(place)) for word in words]
        again = run_here(*words)
    assert again.returncode == 0, again.stderr
    assert target(small_disk, name).exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_read_only_disk(name, places, read_only):
    done = run(name, places, target(read_only, name))
    assert "read-only file system" in one_sentence(done, {1, 2}).lower()
    done = run(name, places, target(read_only / "below", name))
    assert "read-only file system" in one_sentence(done, {1, 2}).lower()


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_place_below_a_file(name, places, tmp_path):
    (tmp_path / "file").write_text("kept")
    done = run(name, places, target(tmp_path / "file", name))
    sentence = one_sentence(done, {1, 2})
    assert "file" in sentence
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def resize(folder, size):
    subprocess.run(["mount", "-o", f"remount,size={size}", folder], check=True)
