"""Image folders and the paper's DeiT commands, on real images in ImageNet's layout."""

import io
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from sklearn.datasets import load_digits

from vkd.cli import main
from vkd.data.photographs import Photographs, read_photographs
from vkd.data.transforms import evaluation_transform, training_transform
from vkd.errors import RunError, UserError
from vkd.models import create_model, last_layer
from vkd.training.checkpoint import read_metrics

PAPER = Path(__file__).parent.parent / "paper"
CLASSES, PER_CLASS = 3, 8


def write_folder(folder, per_class=PER_CLASS, odd=0):
    """Digits of three classes as JPEG files in train/ and val/; val has ``odd`` images more."""
    digits = load_digits()
    for label in range(CLASSES):
        images = digits.images[digits.target == label]
        for split, start, count in (
            ("train", 0, per_class),
            ("val", per_class, per_class + (odd if label == 0 else 0)),
        ):
            place = folder / split / f"n{label:02d}"
            place.mkdir(parents=True)
            for index, image in enumerate(images[start : start + count]):
                pixels = (image / 16 * 255).astype(np.uint8).repeat(5, 0).repeat(5, 1)
                Image.fromarray(pixels).convert("RGB").save(place / f"{index}.JPEG")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("imagenet"), odd=1)


def parts(folder, **kwargs):
    return read_photographs(
        "folder", str(folder), training_transform(32), evaluation_transform(32), **kwargs
    )


def test_a_folder_is_read_with_its_classes(folder):
    train, validation, classes = parts(folder)
    assert (len(train), len(validation)) == (24, 25)
    assert classes == ["n00", "n01", "n02"]
    image, label, index = validation[24]
    assert image.shape == (3, 32, 32)
    assert (label, index) == (2, 24)


def test_nested_class_folders_count_by_the_innermost(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "train" / "even").mkdir()
    (tmp_path / "train" / "n00").rename(tmp_path / "train" / "even" / "n00")
    train, _, classes = parts(tmp_path)
    assert classes == ["n00", "n01", "n02"]
    assert len(train) == 24


def test_a_class_unknown_to_training_is_an_error(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "val" / "n01").rename(tmp_path / "val" / "n09")
    with pytest.raises(UserError, match="n09"):
        parts(tmp_path)


def test_evaluation_prepares_images_as_timm_does(folder):
    from timm.data import create_transform

    theirs = create_transform(32, is_training=False, interpolation="bicubic", crop_pct=0.875)
    with Image.open(folder / "val" / "n01" / "3.JPEG") as image:
        image = image.convert("RGB")
        torch.testing.assert_close(evaluation_transform(32)(image), theirs(image))


def test_corrupt_images_are_named_and_replaced_until_there_are_too_many(tmp_path, capsys):
    write_folder(tmp_path)
    files = sorted((tmp_path / "train" / "n00").iterdir())
    for file in files[:2]:
        file.write_bytes(file.read_bytes()[:100])
    train, _, _ = parts(tmp_path, max_corrupt=2)
    labels = [train[i][1] for i in range(len(train))]
    assert len(labels) == 24
    assert all(label >= 0 for label in labels)
    assert train.skipped == 2
    written = capsys.readouterr().err
    assert files[0].name in written
    assert "(2)" in written
    strict, _, _ = parts(tmp_path, max_corrupt=1)
    with pytest.raises(RunError, match="more than --max-corrupt 1"):
        [strict[i] for i in range(24)]


def test_a_corrupt_image_does_not_count_in_evaluation(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "val" / "n02" / "0.JPEG").write_bytes(b"broken")
    _, validation, _ = parts(tmp_path)
    labels = [validation[i][1] for i in range(len(validation))]
    assert labels.count(-1) == 1
    assert len(labels) == 24


def test_parquet_is_read_as_hugging_face_does(folder, tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["n00", "n01", "n02"])}
    )
    for split, name in (("train", "train"), ("val", "validation")):
        files = sorted((folder / split).rglob("*.JPEG"))
        rows = {
            "image": [{"bytes": f.read_bytes(), "path": f.name} for f in files],
            "label": [int(f.parent.name[1:]) for f in files],
        }
        datasets.Dataset.from_dict(rows, features=features).to_parquet(
            tmp_path / f"{name}-00000-of-00001.parquet"
        )
    _, expected, _ = parts(folder)
    train, found, classes = read_photographs(
        "hfds", str(tmp_path), training_transform(32), evaluation_transform(32)
    )
    assert classes == ["n00", "n01", "n02"]
    assert len(train) == 24
    for index in (0, 9, 24):
        torch.testing.assert_close(found[index][0], expected[index][0])
        assert found[index][1] == expected[index][1]


@pytest.mark.parametrize("in_folders", [True, False])
def test_shards_hold_the_same_images(folder, tmp_path, in_folders):
    for split in ("train", "val"):
        files = sorted((folder / split).rglob("*.JPEG"))
        for shard in range(2):
            name = f"{split}/{shard}.tar" if in_folders else f"a-{split}-{shard}.tar"
            (tmp_path / name).parent.mkdir(exist_ok=True)
            with tarfile.open(tmp_path / name, "w") as tar:
                for file in files[shard::2]:
                    key = f"{file.parent.name}_{file.stem}"
                    label = str(int(file.parent.name[1:])).encode()
                    for suffix, content in ((".cls", label), (".jpg", file.read_bytes())):
                        member = tarfile.TarInfo(key + suffix)
                        member.size = len(content)
                        tar.addfile(member, io.BytesIO(content))
    train, found, classes = read_photographs(
        "wds", str(tmp_path), training_transform(32), evaluation_transform(32)
    )
    _, expected, _ = parts(folder)
    assert (len(train), len(found)) == (24, 25)
    assert classes == ["0", "1", "2"]
    order = [*range(0, 25, 2), *range(1, 25, 2)]
    for position, original in enumerate(order):
        torch.testing.assert_close(found[position][0], expected[original][0])
        assert found[position][1] == expected[original][1]
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "val.tar").write_bytes(b"no tar")
    with pytest.raises(UserError, match="not a shard"):
        read_photographs("wds", str(tmp_path / "broken"), None, None)


@pytest.mark.parametrize(
    ("name", "layer"),
    [("resnet10t", "layer4"), ("regnety_002", "final_conv"), ("deit_tiny_patch16_224", "norm"),
     ("convnext_atto", "stages.3"), ("cnn_digits", "features")],
)  # fmt: skip
def test_the_last_layer_of_a_teacher_is_found(name, layer):
    assert last_layer(create_model(name)) == layer


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A teacher's and a student's file in the release's layouts, for three classes."""
    place = tmp_path_factory.mktemp("files")
    torch.manual_seed(0)
    teacher = timm.create_model("regnety_160", num_classes=CLASSES)
    torch.save({"model": teacher.state_dict()}, place / "teacher.pth")
    student = create_model("deit_ti_distilled", num_classes=CLASSES, img_size=32)
    state = {
        f"module.{key}".replace("patch_embed.", "conv_embed."): value
        for key, value in student.state_dict().items()
    }
    torch.save({"student": state, "epoch": 1}, place / "student.pth")
    return place


def launch(*arguments, processes=1, cwd=PAPER):
    """Run the release's command by torch's launcher, as its users do."""
    command = [sys.executable, "-m", "torch.distributed.launch", "--master_port", "12349"]
    command += [f"--nproc_per_node={processes}", "main_distributed.py", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=environment)


@pytest.mark.slow
def test_the_releases_train_command_runs(folder, files, tmp_path):
    done = launch(
        "--teacher", "regnety_160", "--student-model", "deit_ti_distilled", "--batch-size", 4,
        "--data-path", folder, "--output_dir", tmp_path / "output", "--epochs", 1,
        "--input-size", 32, "--num_workers", 0, "--teacher-path", files / "teacher.pth",
        "--aa", "rand-m9", processes=2,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "--aa has no effect" in done.stderr
    record = read_metrics(tmp_path / "output")[0]
    assert set(record["train"]) == {"feature", "logit", "label", "loss"}
    assert record["updates"] == 3
    assert record["lr"] < 5e-4 * 8 / 512 + 1e-9
    correct = record["validation"]["accuracy"] * 25 / 100
    assert correct == pytest.approx(round(correct), abs=1e-4)
    card = (tmp_path / "output" / "README.md").read_text()
    assert "library_name: vkd" in card
    assert "G multiply-adds" in card
    assert "projector" not in " ".join(read_weights(tmp_path / "output" / "model.safetensors"))


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_the_releases_evaluate_command_counts_each_image_once(folder, files, processes):
    done = launch(
        "--teacher", "regnety_160", "--student-model", "deit_ti_distilled", "--eval-student",
        "--student-ckpt", files / "student.pth", "--batch-size", 4, "--data-path", folder,
        "--input-size", 32, "--num_workers", 0, processes=processes,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    model = create_model("deit_ti_distilled", files / "student.pth", img_size=32).eval()
    _, validation, _ = parts(folder)
    with torch.no_grad():
        images, labels, _ = zip(*[validation[i] for i in range(25)], strict=True)
        logits = model(torch.stack(images))
    expected = 100 * (logits.argmax(1) == torch.tensor(labels)).float().mean().item()
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(labels)).item()
    found = dict(re.findall(r"^(\w+): (\S+)$", done.stdout, re.MULTILINE))
    assert float(found["accuracy"]) == pytest.approx(expected, abs=1e-3)
    assert float(found["loss"]) == pytest.approx(loss, rel=1e-4)
    assert float(found["parameters"]) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--studnet-model", "x"], "did you mean --student-model"),
        (["--eval-student"], "--eval-student needs --student-ckpt"),
        (["--batch-size", "many"], "--batch-size"),
        (["--student-ckpt", "x.pth"], "use --resume"),
    ],
)
def test_mistakes_in_the_releases_command_are_one_sentence(arguments, message, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(PAPER))
    import main_distributed

    monkeypatch.setattr(sys, "argv", ["main_distributed.py", *arguments])
    assert main_distributed.main() == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert message in lines[0]


def test_every_flag_of_the_release_reaches_its_field(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(PAPER))
    import main_distributed

    words = "--lr 1e-3 --weight-decay 0.1 --warmup-epochs 2 --min-lr 1e-6 --opt sgd --drop-path 0.1"
    words += " --repeated-aug --clip-grad 1 --alpha 0 --gamma 2 --mixup 0.5 --reprob 0.2"
    _, values = main_distributed.parse(words.split())
    assert values == {
        "lr": 1e-3, "weight_decay": 0.1, "warmup_epochs": 2, "min_lr": 1e-6, "optimizer": "sgd",
        "drop_path": 0.1, "repeated_augmentation": 3, "clip_grad": 1.0, "feature_weight": 0.0,
        "logit_weight": 2.0, "mixup": 0.5,
    }  # fmt: skip
    assert "--reprob has no effect" in capsys.readouterr().err


@pytest.mark.parametrize("weights", [(0, 1), (1, 0), (0, 0)])
def test_either_loss_can_be_left_out(folder, files, tmp_path, weights):
    code = main([
        "train", "deit-tiny-imagenet", "--output", str(tmp_path / "run"), "--device", "cpu",
        "--data-path", str(folder), "--input-size", "32", "--epochs", "1", "--batch-size", "12",
        "--workers", "0", "--teacher", "resnet10t", "--teacher-layer", "layer4",
        "--teacher-checkpoint", str(_resnet(tmp_path)), "--feature-weight", str(weights[0]),
        "--logit-weight", str(weights[1]),
    ])  # fmt: skip
    assert code == 0
    terms = set(read_metrics(tmp_path / "run")[0]["train"])
    assert ("feature" in terms, "logit" in terms) == (bool(weights[0]), bool(weights[1]))
    predicted = tmp_path / "run" / "model.safetensors"
    image = next((folder / "val").rglob("*.JPEG"))
    assert main(["predict", str(image), "--checkpoint", str(predicted)]) == 0


def _resnet(folder):
    model = timm.create_model("resnet10t", num_classes=CLASSES)
    torch.save({"state_dict": model.state_dict()}, folder / "resnet.pth")
    return folder / "resnet.pth"


@pytest.mark.slow
def test_too_many_corrupt_images_end_a_run_in_one_sentence(tmp_path, capsys):
    write_folder(tmp_path)
    for file in (tmp_path / "train" / "n01").iterdir():
        file.write_bytes(b"")
    code = main([
        "train", "deit-tiny-imagenet", "--output", str(tmp_path / "run"), "--device", "cpu",
        "--data-path", str(tmp_path), "--input-size", "32", "--epochs", "1", "--batch-size", "12",
        "--workers", "1", "--feature-weight", "0", "--logit-weight", "0", "--max-corrupt", "2",
        "--mixed-precision", "no",
    ])  # fmt: skip
    assert code == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("vkd: 3 images cannot be read, more than --max-corrupt 2")
    assert not any("Traceback" in line for line in lines)


def test_photographs_with_workers_share_their_count(tmp_path):
    write_folder(tmp_path)
    for file in sorted((tmp_path / "train" / "n01").iterdir())[:3]:
        file.write_bytes(b"")
    train, _, _ = parts(tmp_path)
    assert isinstance(train, Photographs)
    loader = torch.utils.data.DataLoader(train, 4, num_workers=2)
    assert sum(len(labels) for _, labels, _ in loader) == 24
    assert train.skipped == 3
