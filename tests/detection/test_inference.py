"""Trained detectors: evaluated, shown images, exported."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from support.canvases import few_canvases
from support.deploying import run_script
from vkd import create_model, evaluate
from vkd.cli import main
from vkd.deployment.agreement import agreement
from vkd.deployment.quantization import quantized
from vkd.detection.metrics import NAMES
from vkd.training.records import read_metrics


@pytest.fixture(scope="module", autouse=True)
def _few_canvases():
    with few_canvases(480, 40, 60):
        yield


@pytest.fixture(scope="module")
def short_run(shared, _few_canvases):
    """A run folder of a digits detector after one epoch on few canvases."""

    def run(folder):
        code = main([
            "train", "digits-detection-teacher", "--student", "vidt_digits", "--output",
            str(folder), "--epochs", "1", "--warmup-epochs", "0", "--batch-size", "8",
            "--device", "cpu",
        ])  # fmt: skip
        assert code == 0

    return shared("detector-run", run)


@pytest.mark.slow
def test_a_short_run_learns_and_evaluates_from_its_folder_alone(short_run, tmp_path, vkd):
    record = read_metrics(short_run)[0]
    assert set(record["train"]) == {"class", "box", "giou", "loss"}
    assert set(NAMES) <= set(record["validation"])
    predictions = tmp_path / "results.json"
    arguments = ("eval", "--checkpoint", short_run, "--device", "cpu", "--predictions", predictions)
    done = vkd(*arguments)
    assert done.returncode == 0, done.stderr
    records = json.loads(predictions.read_text())
    assert len({record["image_id"] for record in records}) == 60
    assert {record["category_id"] for record in records} <= set(range(1, 11))
    again = vkd(*arguments)
    assert again.returncode == 2
    assert "exists already" in again.stderr


@pytest.mark.slow
def test_predict_draws_boxes_and_prints_json(short_run, coco, tmp_path, vkd):
    pictures = sorted((coco / "val2017").glob("*.jpg"))[:2]
    output = tmp_path / "drawn"
    done = vkd("predict", "--checkpoint", short_run, "--threshold", 0.02, "--output", output,
               *pictures)  # fmt: skip
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [Path(record["image"]) for record in records] == pictures
    assert any(record["detections"] for record in records)
    for record, picture in zip(records, pictures, strict=True):
        scores = [found["score"] for found in record["detections"]]
        assert scores == sorted(scores, reverse=True)
        assert all(found["category"] in "0123456789" for found in record["detections"])
        with Image.open(picture) as before, Image.open(output / f"{picture.stem}.png") as after:
            assert after.size == before.size
            moved = np.asarray(after) != np.asarray(before.convert("RGB"))
            assert moved.any() == bool(scores)
    assert "exists already" in vkd("predict", "--checkpoint", short_run, "--output", output,
                                   *pictures).stderr  # fmt: skip


@pytest.fixture(scope="module")
def exported(short_run, tmp_path_factory):
    """The files of an exported detector; tracing it takes longest, and is done once for both."""
    folder, programs = tmp_path_factory.mktemp("exported"), []
    trace = torch.export.export

    def traced(*arguments, **options):
        programs[:] = programs or [trace(*arguments, **options)]
        return programs[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.export, "export", traced)
        for suffix in (".pt2", ".onnx"):
            target = str(folder / f"detector{suffix}")
            size = ["--height", "64", "--width", "80"]
            assert main(["export", "--checkpoint", str(short_run), target, *size]) == 0
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_an_exported_detector_finds_the_same_boxes(short_run, exported, suffix):
    target = exported / f"detector{suffix}"
    torch.manual_seed(0)
    images = torch.randn(3, 3, 64, 80)
    mask = torch.zeros(3, 64, 80, dtype=torch.bool)
    mask[1, :, 48:] = True
    with torch.no_grad():
        expected = create_model("vidt_digits", short_run).eval()(images, mask)
    if suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(target, providers=["CPUExecutionProvider"])
        says = session.get_modelmeta().custom_metadata_map
        found = session.run(None, {"images": images.numpy(), "mask": mask.numpy()})
        logits, boxes = (torch.from_numpy(part) for part in found)
    else:
        says = {"categories": "", "inputs": "", "architecture": ""}
        logits, boxes = torch.export.load(target, extra_files=says).module()(images, mask)
    torch.testing.assert_close(logits, expected["pred_logits"], atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(boxes, expected["pred_boxes"], atol=1e-3, rtol=1e-3)
    assert json.loads(says["categories"])["names"] == [str(digit) for digit in range(10)]
    assert json.loads(says["inputs"])["size"] == [64, 80]
    assert json.loads(says["inputs"])["std"] == pytest.approx([0.229, 0.224, 0.225])
    assert says["architecture"] in ("vidt_digits", b"vidt_digits")


@pytest.mark.slow
def test_an_onnx_file_stands_for_its_run(short_run, exported, tmp_path, coco, vkd):
    file = exported / "detector.onnx"
    run, from_file = (
        evaluate(str(checkpoint), device="cpu")["AP"] for checkpoint in (short_run, file)
    )
    # The file's canvas is wider than the pictures, which moves the detections a little.
    assert from_file == pytest.approx(run, abs=2)
    # Pictures that are larger are shrunk, and all are padded; the script does the same.
    small = tmp_path / "small.png"
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(small)
    large = sorted((coco / "val2017").glob("*.jpg"))[0]
    done = vkd("predict", "--checkpoint", file, "--threshold", 0.001, small, large)
    assert done.returncode == 0, done.stderr
    changes = {">= 0.5": ">= 0.001", ":.2f": ":.5f"}
    for line, picture, apart in zip(
        done.stdout.splitlines(), (small, large), (1e-4, 2e-2), strict=True
    ):
        expected = json.loads(line)["detections"]
        printed = run_script("detect.py", tmp_path, file, picture, **changes)
        rows = [row.split() for row in printed.splitlines()]
        rows.sort(key=lambda row: -float(row[1]))
        assert float(rows[0][1]) == pytest.approx(expected[0]["score"], abs=apart)
        if picture == small:
            assert rows[0][0] == expected[0]["category"]
            corners = [float(corner) for corner in rows[0][2:]]
            assert corners == pytest.approx(expected[0]["box"], abs=1)


@pytest.mark.slow
def test_a_detector_in_8_bits_samples_in_float(exported, tmp_path):
    torch.manual_seed(0)
    mask = torch.zeros(4, 64, 80, dtype=torch.bool)
    mask[1, :, 48:] = True
    batches = [{"images": torch.randn(4, 3, 64, 80), "mask": mask} for _ in range(2)]
    done = quantized(exported / "detector.onnx", tmp_path / "int8.onnx", batches)
    assert done.pictures == 8
    assert done.int8["MatMul"] > 20
    assert done.float["GridSample"] > 0
    found = agreement(exported / "detector.onnx", tmp_path / "int8.onnx", batches, False)
    assert found.lowest_cosine > 0.99


@pytest.mark.slow
def test_detections_are_rows_of_csv_and_drawings_can_be_made_again(short_run, coco, tmp_path, vkd):
    folder = coco / "val2017"
    arguments = ("predict", "--checkpoint", short_run, "--threshold", 0.01, folder)
    done = vkd(*arguments, "--output", tmp_path / "drawn")
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert vkd(*arguments, "--output", tmp_path / "drawn").returncode == 0
    assert len(list((tmp_path / "drawn").iterdir())) == len(records) == 7
    other = vkd(*arguments[:4], 0.02, folder, "--output", tmp_path / "drawn")
    assert other.returncode == 2
    assert vkd(*arguments, "--output", tmp_path / "found.csv").returncode == 0
    with (tmp_path / "found.csv").open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    found = sum(max(1, len(record["detections"])) for record in records)
    assert len(rows) == found
    assert float(rows[0]["right"]) >= float(rows[0]["left"])
