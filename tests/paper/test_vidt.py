"""The command of the paper's release for ViDT."""

import importlib.util
import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file

from support.coco import clean_split
from support.commands import PAPER, launch_release, run_release
from support.release import vidt_file
from vkd import create_model
from vkd.detection.categories import categories_of
from vkd.detection.coco import CocoImages
from vkd.detection.metrics import NAMES, average_precision
from vkd.detection.postprocess import best_detections, coco_records
from vkd.detection.transforms import detection_transform
from vkd.training.records import read_metrics

RELEASE = (
    "--method", "vidt", "--backbone_name", "swin_nano", "--batch_size", 2, "--num_workers", 0,
    "--aux_loss", "True", "--with_box_refine", "True", "--eval_size", 64,
)  # fmt: skip


@pytest.fixture(scope="module")
def command():
    """The release's command as a module."""
    spec = importlib.util.spec_from_file_location("vidt_main", PAPER / "vidt" / "main.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_the_releases_train_command_runs(coco, tmp_path):
    teacher = vidt_file("vidt_tiny", tmp_path)
    done = launch_release(
        "vidt/main.py", *RELEASE, "--epochs", 1, "--lr", 1e-4, "--min-lr", 1e-7,
        "--distil_model", "vidt_tiny", "--distil_model_path", teacher, "--coco_path", coco,
        "--pre_trained", "none", "--output_dir", tmp_path / "swin_nano", "--lr_backbone", 1e-5,
        processes=2, port=12351,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "--lr_backbone has no effect" in done.stderr
    record = read_metrics(tmp_path / "swin_nano")[0]
    assert set(record["train"]) == {"class", "box", "giou", "feature", "loss"}
    assert record["updates"] == 2
    check_log(tmp_path / "swin_nano", record)
    assert done.stdout.count("Average Precision  (AP) @[ IoU=0.50:0.95 | area=   all") == 1
    weights = load_file(tmp_path / "swin_nano" / "model.safetensors")
    assert weights.keys() == create_model("vidt_nano").state_dict().keys()
    projections = load_file(tmp_path / "swin_nano" / "token-projections.safetensors")
    assert sum(name.endswith("projection.parameter") for name in projections) == 6


def check_log(folder, record):
    """``log.txt`` says what our record does, in the release's keys."""
    (line,) = (folder / "log.txt").read_text().splitlines()
    found = json.loads(line)
    for kind, name in (("class", "loss_ce"), ("box", "loss_bbox"), ("giou", "loss_giou")):
        layers = [found[f"train_{name}{layer}"] for layer in ("", *(f"_{i}" for i in range(6)))]
        assert sum(layers) == pytest.approx(record["train"][kind], rel=1e-4)
        assert f"train_{name}_6" not in found
    assert found["train_loss"] == pytest.approx(record["train"]["loss"])
    assert found["train_lr"] == pytest.approx(1e-4)
    assert 0 <= found["train_class_error"] <= 100
    assert len(found["test_coco_eval_bbox"]) == 12
    assert found["epoch"] == 0


def with_coco_names(folder, copy):
    """A copy of a data set whose categories 3 and 7 are called as in COCO."""
    shutil.copytree(folder, copy)
    for file in (copy / "annotations").iterdir():
        truth = json.loads(file.read_text())
        truth["categories"] = [{"id": 3, "name": "car"}, {"id": 7, "name": "train"}]
        file.write_text(json.dumps(truth))
    return copy


@pytest.mark.slow
def test_the_releases_evaluate_command_counts_each_image_once(coco, tmp_path, command):
    checkpoint = vidt_file("vidt_nano", tmp_path)
    coco = with_coco_names(coco, tmp_path / "data")
    arguments = (*RELEASE, "--coco_path", coco, "--resume", checkpoint, "--pre_trained", "none",
                 "--eval", "True")  # fmt: skip
    model = create_model("vidt_nano", checkpoint).eval()
    folder, truth = clean_split(coco, "validation")
    data = CocoImages(folder, truth, categories_of(truth, 91), detection_transform(64, 1333))
    records = []
    with torch.no_grad():
        for start in range(0, len(data), 2):
            items = [data[i] for i in range(start, min(start + 2, len(data)))]
            sizes = torch.stack([target["original_size"] for _, target in items])
            best = best_detections(model([image for image, _ in items]), sizes)
            ids = [int(target["image_id"]) for _, target in items]
            records += coco_records(best, ids, data.categories.ids)
    expected = average_precision(truth, records)
    for processes, done in (
        (1, run_release(command, *arguments)),
        (3, launch_release("vidt/main.py", *arguments, processes=3, port=12352)),
    ):
        assert done.returncode == 0, done.stderr
        found = dict(re.findall(r"^(\w+): (\S+)$", done.stdout, re.MULTILINE))
        for name in NAMES:
            score = pytest.approx(expected[name], rel=1e-2, abs=1e-3)
            assert float(found[name]) == score, (processes, name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backbone_name", "swin_nanno"], "did you mean"),
        (["--aux_loss", "perhaps"], "must be True or False"),
        (["--eval", "True"], "--eval True needs --resume"),
        (["--coco_pth", "x"], "did you mean --coco_path"),
    ],
)
def test_mistakes_in_the_releases_command_are_one_sentence(command, arguments, message):
    done = run_release(command, *arguments)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 1
    assert message in lines[0]
