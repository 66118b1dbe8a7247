"""Detection data, metrics, losses and commands, on real digits in COCO's format."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits

from conftest import ENVIRONMENT
from test_vidt import release_file
from vkd import create_model
from vkd.api.evaluate import evaluate
from vkd.api.train import train
from vkd.cli import main
from vkd.detection.backbone_weights import load_backbone
from vkd.detection.canvases import read_digit_canvases
from vkd.detection.coco import Categories, CocoImages, categories_of, default_categories, read_coco
from vkd.detection.losses import detection_losses, token_label_loss
from vkd.detection.metrics import NAMES, average_precision
from vkd.detection.postprocess import best_detections, coco_records
from vkd.detection.task import DetectionTask
from vkd.detection.tokens import TokenLoss
from vkd.detection.transforms import detection_training_transform, detection_transform
from vkd.errors import UserError
from vkd.models.vidt.detector import Tokens
from vkd.models.vidt.variants import BACKBONES
from vkd.projection import OrthogonalProjection
from vkd.recipe import config_of, read_recipe
from vkd.training import trainer
from vkd.training.checkpoint import read_metrics

PAPER = Path(__file__).parent.parent / "paper" / "vidt"
CATEGORIES = [{"id": 3, "name": "odd"}, {"id": 7, "name": "even"}]


def write_coco(folder, counts=(("train2017", 9), ("val2017", 7))):
    """Digits on grey canvases as JPEG, with boxes; the last image has none, the first a crowd."""
    images, labels = load_digits(return_X_y=True)
    random = np.random.default_rng(0)
    (folder / "annotations").mkdir(parents=True)
    for split, count in counts:
        (folder / split).mkdir()
        entries, annotations = [], []
        for index in range(count):
            height, width = 64 + 8 * (index % 3), 96 - 16 * (index % 2)
            canvas = random.integers(0, 60, (height, width), dtype=np.uint8)
            image_id = 100 + 13 * index
            for _ in range(0 if index == count - 1 else 1 + index % 2):
                digit = random.integers(len(images))
                glyph = np.kron(images[digit].reshape(8, 8), np.ones((4, 4))) * 15
                top, left = random.integers(height - 32), random.integers(width - 32)
                canvas[top : top + 32, left : left + 32] = glyph
                annotations.append({
                    "id": len(annotations) + 1, "image_id": image_id, "area": 1024,
                    "category_id": 7 if labels[digit] % 2 == 0 else 3, "iscrowd": 0,
                    "bbox": [int(left), int(top), 32, 32],
                    "segmentation": [[int(left), int(top), int(left) + 32, int(top),
                                      int(left) + 32, int(top) + 32, int(left), int(top) + 32]],
                })  # fmt: skip
            if index == 0:
                annotations.append({
                    "id": 999, "image_id": image_id, "area": 400, "category_id": 3, "iscrowd": 1,
                    "bbox": [0, 0, 20, 20],
                    "segmentation": {"counts": [0, 400], "size": [20, 20]},
                })  # fmt: skip
            name = f"{image_id:012d}.jpg"
            Image.fromarray(canvas).save(folder / split / name)
            entries.append({"id": image_id, "file_name": name, "height": height, "width": width})
        truth = {"images": entries, "annotations": annotations, "categories": CATEGORIES}
        file = folder / "annotations" / f"instances_{split}.json"
        file.write_text(json.dumps(truth))
    return folder


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    return write_coco(tmp_path_factory.mktemp("coco") / "data")


@pytest.mark.parametrize("seed", range(3))
def test_metrics_equal_those_of_pycocotools(seed):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    random = np.random.default_rng(seed)
    images = [{"id": i, "height": 400, "width": 500, "file_name": f"{i}.jpg"} for i in range(30)]
    truth, records = [], []
    for index in range(120):
        corner, size = random.uniform(0, 250, 2), random.uniform(4, 150, 2)
        image_id, category = int(random.integers(30)), int(random.integers(1, 5))
        truth.append({
            "id": index + 1, "image_id": image_id, "category_id": category,
            "iscrowd": int(random.random() < 0.1), "area": float(size.prod()),
            "bbox": [*corner.tolist(), *size.tolist()],
        })  # fmt: skip
        for _ in range(3):
            moved = np.concatenate([corner, size]) + random.normal(0, 6, 4)
            records.append({
                "image_id": image_id, "category_id": category if random.random() < 0.8 else 1,
                "bbox": np.maximum(moved, 1).tolist(), "score": float(random.random()),
            })  # fmt: skip
    categories = [{"id": index, "name": str(index)} for index in range(1, 5)]
    ground_truth = {"images": images, "annotations": truth, "categories": categories}
    ours = average_precision(ground_truth, records)
    reference = COCO()
    reference.dataset = ground_truth
    reference.createIndex()
    theirs = COCOeval(reference, reference.loadRes(records), "bbox")
    theirs.evaluate()
    theirs.accumulate()
    theirs.summarize()
    for name, value in zip(NAMES, theirs.stats[:6], strict=True):
        assert ours[name] == pytest.approx(100 * value if value >= 0 else value, abs=1e-6), name


def test_categories_become_classes_and_back():
    truth = {"categories": CATEGORIES}
    assert categories_of(truth) == Categories([3, 7], ["odd", "even"])
    # Published detectors have a class for each id of COCO.
    wide = categories_of(truth, 91)
    assert (len(wide.ids), wide.ids[3], wide.names[7]) == (91, 3, "even")
    assert wide.labels == {3: 3, 7: 7}
    whole = {"categories": [{"id": i, "name": str(i)} for i in default_categories(91).labels]}
    assert len(whole["categories"]) == 80
    assert categories_of(whole).ids == default_categories(91).ids
    with pytest.raises(UserError, match="--num-classes is 1"):
        categories_of(truth, 1)


def test_images_come_with_boxes_in_their_own_units(coco):
    folder, truth = read_coco(coco, "val")
    data = CocoImages(folder, truth, categories_of(truth), detection_transform(128, 400), True)
    image, target = data[1]
    entry = truth["images"][1]
    assert min(image.shape[1:]) == 128
    assert target["original_size"].tolist() == [entry["height"], entry["width"]]
    wanted = [a for a in truth["annotations"] if a["image_id"] == entry["id"]]
    left, top, width, height = wanted[0]["bbox"]
    centre = [left + width / 2, top + height / 2]
    sides = torch.tensor([entry["width"], entry["height"]] * 2)
    expected = torch.tensor([*centre, width, height]) / sides
    torch.testing.assert_close(target["boxes"][0], expected, atol=1e-3, rtol=0)
    assert target["labels"][0] == {3: 0, 7: 1}[wanted[0]["category_id"]]
    # The mask lies where the box is.
    rows = target["masks"][0].any(1).nonzero()
    assert rows[0].item() / image.shape[1] == pytest.approx(top / entry["height"], abs=0.03)
    first, empty = data[0][1], data[len(data) - 1][1]
    crowd = [a for a in truth["annotations"] if a["image_id"] == 100 and not a["iscrowd"]]
    assert len(first["boxes"]) == len(crowd)
    assert empty["boxes"].shape == (0, 4)
    assert empty["masks"].shape[0] == 0


@pytest.mark.parametrize("augmentation", ["none", "flip", "detr"])
def test_training_transforms_keep_boxes_on_their_digits(coco, augmentation):
    folder, truth = read_coco(coco, "train")
    transform = detection_training_transform(augmentation, 128, 200)
    data = CocoImages(folder, truth, categories_of(truth), transform)
    sizes = set()
    for seed in range(40):
        torch.manual_seed(seed)
        image, target = data[seed % 8]
        sizes.add(tuple(image.shape[1:]))
        assert max(image.shape[1:]) <= 201
        assert len(target["boxes"]) == len(target["labels"])
        for x, y, w, h in target["boxes"].tolist():
            assert -1e-4 <= x - w / 2 <= x + w / 2 <= 1 + 1e-4
            height, width = image.shape[1:]
            inside = image[0, round((y - h / 2) * height) : round((y + h / 2) * height),
                           round((x - w / 2) * width) : round((x + w / 2) * width)]  # fmt: skip
            # The canvas is darker than any digit's brightest pixel.
            if w * width > 16 and h * height > 16:
                assert inside.max() > 0
    assert len(sizes) > (10 if augmentation == "detr" else 1)


def broken(coco, tmp_path, change):
    folder = tmp_path / "broken"
    write_coco(folder, (("train2017", 3), ("val2017", 3)))
    file = folder / "annotations" / "instances_val2017.json"
    truth = json.loads(file.read_text())
    text = change(truth)
    file.write_text(text if isinstance(text, str) else json.dumps(truth))
    return folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t["annotations"][0].update(category_id=5), "is of category 5"),
        (lambda t: t["annotations"][0].update(image_id=1), "is of image 1"),
        (lambda t: t["annotations"][0].update(bbox=[1, 2, 3]), "expected left, top, width"),
        (lambda t: t["images"][0].update(file_name="no.jpg"), "first no.jpg"),
        (lambda t: t.pop("categories"), "no list 'categories'"),
        (lambda t: t.update(images=[]), "has no images"),
        (lambda t: "{", "not valid JSON"),
    ],
)
def test_bad_annotations_are_one_sentence(coco, tmp_path, change, message):
    with pytest.raises(UserError, match=re.escape(message)) as error:
        read_coco(broken(coco, tmp_path, change), "val")
    assert "instances_val2017.json" in str(error.value)


def test_boxes_without_area_are_counted_and_left_out(coco, tmp_path):
    def change(truth):
        truth["annotations"][0]["bbox"] = [5, 5, 0, 9]
        truth["annotations"][-1]["bbox"] = [500, 5, 10, 9]

    with pytest.warns(UserWarning, match="2 boxes without area"):
        folder, truth = read_coco(broken(coco, tmp_path, change), "val")
    data = CocoImages(folder, truth, categories_of(truth), detection_transform(0))
    assert sum(len(data[i][1]["boxes"]) for i in range(3)) == len(truth["annotations"]) - 3


def test_a_folder_without_coco_names_what_it_needs(tmp_path):
    with pytest.raises(UserError, match=r"annotations/instances_val2017\.json"):
        read_coco(tmp_path, "val")


def test_the_layout_without_the_year_and_roboflows_are_read_too(tmp_path):
    write_coco(tmp_path / "a", (("train", 2), ("val", 2)))
    assert len(read_coco(tmp_path / "a", "train")[1]["images"]) == 2
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "val").rename(tmp_path / "b" / "valid")
    source = tmp_path / "a" / "annotations" / "instances_val.json"
    source.rename(tmp_path / "b" / "valid" / "_annotations.coco.json")
    assert len(read_coco(tmp_path / "b", "val")[1]["images"]) == 2


def test_canvases_of_digits_hold_what_their_boxes_say():
    plain = detection_transform(0)
    splits = read_digit_canvases(plain, plain)
    image, target = splits["test"][3]
    assert image.shape == (3, 64, 64)
    assert 1 <= len(target["boxes"]) <= 4
    again = read_digit_canvases(plain, plain)["test"][3]
    assert again[0].equal(image)
    for split in splits.values():
        ids = {a["category_id"] for a in split.ground_truth["annotations"]}
        assert ids == set(range(1, 11))


def test_losses_of_images_without_objects_are_finite():
    torch.manual_seed(0)
    model = create_model("vidt_digits", iou_aware=True, token_label=True).train()
    outputs = model(torch.randn(2, 3, 64, 64))
    targets = [{"labels": torch.zeros(0).long(), "boxes": torch.zeros(0, 4),
                "masks": torch.zeros(0, 64, 64)}] * 2  # fmt: skip
    losses = detection_losses(outputs, targets)
    losses["token"] = token_label_loss(outputs, targets)
    torch.stack(list(losses.values())).sum().backward()
    assert all(loss.isfinite() for loss in losses.values())
    assert losses["box"] == 0
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_a_perfect_detector_has_the_best_precision(coco):
    folder, truth = read_coco(coco, "val")
    data = CocoImages(folder, truth, categories_of(truth), detection_transform(0))
    records = []
    for index in range(len(data)):
        _, target = data[index]
        logits = torch.full((1, 5, 2), -9.0)
        boxes = torch.full((1, 5, 4), 0.5)
        for place, (label, box) in enumerate(zip(target["labels"], target["boxes"], strict=True)):
            logits[0, place, label], boxes[0, place] = 9.0, box
        best = best_detections({"pred_logits": logits, "pred_boxes": boxes},
                               target["original_size"][None])  # fmt: skip
        records += coco_records(best, [int(target["image_id"])], data.categories.ids)
    assert average_precision(truth, records)["AP"] == pytest.approx(100)
    assert average_precision(truth, [])["AP"] == 0


def tokens(dim=16, batch=2, seed=0):
    torch.manual_seed(seed)
    maps = [torch.randn(batch, dim, side, side) for side in (8, 4, 2, 1)]
    return Tokens(maps, torch.randn(batch, 5, dim), torch.randn(3, batch, 5, dim))


def test_constant_features_give_no_nan_in_distillation():
    student, teacher = tokens(), tokens(24, seed=1)
    teacher.patches[0][:, 3] = 2.0
    student.patches[1].zero_()
    student.patches[1].requires_grad_()
    loss = TokenLoss(OrthogonalProjection, 16, 24)
    value = loss(student, teacher)
    value.backward()
    assert value.isfinite()
    assert student.patches[1].grad.isfinite().all()


def test_detectors_with_unlike_tokens_are_refused(tmp_path):
    other = create_model("vidt_digits_large", num_det_tokens=7)
    torch.save(other.state_dict(), tmp_path / "t.pth")
    values = read_recipe("digits-detection") | {"teacher_checkpoint": str(tmp_path / "t.pth")}
    with pytest.raises(UserError, match="7 detection tokens"):
        DetectionTask(config_of(values))


def test_projections_and_tokens_are_not_decayed_and_the_body_has_its_own_rate(tmp_path):
    torch.save(create_model("vidt_digits_large").state_dict(), tmp_path / "t.pth")
    values = read_recipe("digits-detection")
    values |= {"teacher_checkpoint": str(tmp_path / "t.pth"), "backbone_lr": 0.1}
    module = DetectionTask(config_of(values)).module
    optimizer = trainer._optimizer(module, module.config, 1e-3)
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    named = dict(module.named_parameters())
    assert set(groups) == {id(p) for p in named.values()}
    for name, parameter in named.items():
        group = groups[id(parameter)]
        if name.startswith("token_loss.") or "det_token" in name or parameter.ndim == 1:
            assert group["weight_decay"] == 0, name
        body = name.startswith("student.backbone.") and ".det_" not in name
        assert group["lr"] == pytest.approx(1e-4 if body else 1e-3), name
    assert not any("teacher" in name for name in module.state_dict())


def swin_file(folder, name="swin_tiny_patch4_window7_224"):
    torch.manual_seed(3)
    state = timm.create_model(name, num_classes=0).state_dict()
    save_file(
        {key: value.contiguous() for key, value in state.items()}, folder / "swin.safetensors"
    )
    return folder / "swin.safetensors"


def test_a_detector_starts_from_swins_weights(tmp_path):
    file = swin_file(tmp_path)
    model = create_model("vidt_tiny")
    load_backbone(model, "vidt_tiny", str(file))
    swin = load_file(file)
    body = model.backbone.state_dict()
    assert body["layers.1.blocks.1.attn.qkv.weight"].equal(
        swin["layers.1.blocks.1.attn.qkv.weight"]
    )
    reduction = swin["layers.1.downsample.reduction.weight"]
    assert body["layers.0.downsample.reduction.weight"].equal(reduction)
    with pytest.raises(UserError, match="does not fit vidt_nano"):
        load_backbone(create_model("vidt_nano"), "vidt_nano", str(file))
    with pytest.raises(UserError, match="timm publishes no Swin of vidt_nano's size"):
        load_backbone(create_model("vidt_nano"), "vidt_nano", "hub")
    for name, published in BACKBONES.items():
        assert timm.is_model_pretrained(published), name


@pytest.fixture
def few_canvases(monkeypatch):
    monkeypatch.setattr(digits_detection, "SIZES", {"train": 24, "validation": 8, "test": 8})
    digits_detection._compose_split.cache_clear()
    yield
    digits_detection._compose_split.cache_clear()


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"ema_decay": 0.9, "accumulation": 2}, {"fusion": True},
                                     {"mixed_precision": "bf16", "auxiliary_losses": False},
                                     {"iou_weight": 1.0}, {"method": "vidt_wo_neck"}])  # fmt: skip
def test_a_resumed_run_ends_at_the_same_weights_bit_for_bit(
    changes, few_canvases, tmp_path, train_in_two_parts
):
    values = read_recipe("digits-detection-teacher") | {
        "student": "vidt_digits", "epochs": 2, "batch_size": 4, "device": "cpu",
        "checkpoint_every": 1, "warmup_epochs": 0, "augmentation": "flip", "trackers": "",
    }  # fmt: skip
    config = config_of(values | changes)
    train(config, tmp_path / "whole", show=False)
    train_in_two_parts(config, tmp_path / "parts")
    first, second = (load_file(tmp_path / n / "model.safetensors") for n in ("whole", "parts"))
    assert first.keys() == second.keys()
    for name, weight in first.items():
        assert weight.equal(second[name]), name
    # A run folder tells all options of its model.
    evaluate(str(tmp_path / "parts"), device="cpu")


@pytest.fixture(scope="module")
def short_run(tmp_path_factory):
    """A run folder of a digits detector after one epoch on few canvases."""
    folder = tmp_path_factory.mktemp("detector") / "run"
    code = main([
        "train", "digits-detection-teacher", "--student", "vidt_digits", "--output", str(folder),
        "--epochs", "1", "--warmup-epochs", "0", "--device", "cpu",
    ])  # fmt: skip
    assert code == 0
    return folder


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
    assert len({record["image_id"] for record in records}) == 400
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


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_an_exported_detector_finds_the_same_boxes(short_run, tmp_path, suffix):
    target = tmp_path / f"detector{suffix}"
    assert main(["export", "--checkpoint", str(short_run), str(target), "--height", "64",
                 "--width", "80"]) == 0  # fmt: skip
    torch.manual_seed(0)
    images = torch.randn(3, 3, 64, 80)
    mask = torch.zeros(3, 64, 80, dtype=torch.bool)
    mask[1, :, 48:] = True
    with torch.no_grad():
        expected = create_model("vidt_digits", short_run).eval()(images, mask)
    if suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(target, providers=["CPUExecutionProvider"])
        found = session.run(None, {"images": images.numpy(), "mask": mask.numpy()})
        logits, boxes = (torch.from_numpy(part) for part in found)
    else:
        logits, boxes = torch.export.load(target).module()(images, mask)
    torch.testing.assert_close(logits, expected["pred_logits"], atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(boxes, expected["pred_boxes"], atol=1e-3, rtol=1e-3)


def launch(*arguments, processes=1):
    """Run the release's command by torch's launcher, as its users do."""
    command = [sys.executable, "-m", "torch.distributed.launch", "--master_port", "12351"]
    command += [f"--nproc_per_node={processes}", "main.py", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=PAPER, capture_output=True, text=True, env=environment)


RELEASE = (
    "--method", "vidt", "--backbone_name", "swin_nano", "--batch_size", 2, "--num_workers", 0,
    "--aux_loss", "True", "--with_box_refine", "True", "--eval_size", 64,
)  # fmt: skip


@pytest.mark.slow
def test_the_releases_train_command_runs(coco, tmp_path):
    teacher = release_file("vidt_tiny", tmp_path)
    done = launch(
        *RELEASE, "--epochs", 1, "--lr", 1e-4, "--min-lr", 1e-7, "--distil_model", "vidt_tiny",
        "--distil_model_path", teacher, "--coco_path", coco, "--pre_trained", "none",
        "--output_dir", tmp_path / "swin_nano", "--lr_backbone", 1e-5, processes=2,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "--lr_backbone has no effect" in done.stderr
    record = read_metrics(tmp_path / "swin_nano")[0]
    assert set(record["train"]) == {"class", "box", "giou", "feature", "loss"}
    assert record["updates"] == 2
    weights = load_file(tmp_path / "swin_nano" / "model.safetensors")
    assert weights.keys() == create_model("vidt_nano").state_dict().keys()
    projections = load_file(tmp_path / "swin_nano" / "token-projections.safetensors")
    assert sum(name.endswith("projection.parameter") for name in projections) == 6


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 3])
def test_the_releases_evaluate_command_counts_each_image_once(coco, tmp_path, processes):
    checkpoint = release_file("vidt_nano", tmp_path)
    done = launch(*RELEASE, "--coco_path", coco, "--resume", checkpoint, "--pre_trained", "none",
                  "--eval", "True", processes=processes)  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = dict(re.findall(r"^(\w+): (\S+)$", done.stdout, re.MULTILINE))
    model = create_model("vidt_nano", checkpoint).eval()
    folder, truth = read_coco(coco, "val")
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
    for name in NAMES:
        assert float(found[name]) == pytest.approx(expected[name], rel=1e-2, abs=1e-3), name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backbone_name", "swin_nanno"], "did you mean"),
        (["--backbone_name", "coat_lite_tiny"], "coat_lite_tiny is not here yet"),
        (["--aux_loss", "perhaps"], "must be True or False"),
        (["--eval", "True"], "--eval True needs --resume"),
        (["--coco_pth", "x"], "did you mean --coco_path"),
    ],
)
def test_mistakes_in_the_releases_command_are_one_sentence(arguments, message):
    done = subprocess.run([sys.executable, "main.py", *arguments], cwd=PAPER, text=True,
                          capture_output=True, env=ENVIRONMENT)  # fmt: skip
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 1
    assert message in lines[0]


TRITON = """
import torch
from vkd.models.vidt.deformable_attention import sample_levels as plain
from vkd.models.vidt.triton_sampling import sample_levels_by_kernel as kernel
torch.manual_seed(0)
for heads, channels, points in ((2, 8, 4), (3, 5, 3)):
    shapes = [(5, 7), (3, 4)]
    inputs = (
        torch.randn(2, 47, heads, channels), torch.rand(2, 3, heads, 2, points, 2) * 1.4 - 0.2,
        torch.rand(2, 3, heads, 2, points),
    )
    found = []
    for run in (plain, kernel):
        value, locations, weights = (part.clone().requires_grad_() for part in inputs)
        out = run(value, shapes, locations, weights)
        out.sin().sum().backward()
        found.append((out.detach(), value.grad, locations.grad, weights.grad))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
"""


@pytest.mark.slow
def test_the_triton_kernels_equal_plain_pytorch_in_values_and_gradients():
    pytest.importorskip("triton")
    done = subprocess.run([sys.executable, "-c", TRITON], capture_output=True, text=True,
                          env=ENVIRONMENT | {"TRITON_INTERPRET": "1"})  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_kernels_on_a_gpu_equal_plain_pytorch(dtype):
    from vkd.models.vidt.deformable_attention import sample, sample_levels

    torch.manual_seed(0)
    shapes = [(50, 70), (25, 35), (13, 18), (7, 9)]
    places = sum(height * width for height, width in shapes)
    inputs = (torch.randn(2, places, 8, 32), torch.rand(2, 100, 8, 4, 4, 2) * 1.2 - 0.1,
              torch.rand(2, 100, 8, 4, 4))  # fmt: skip
    found = []
    for run in (sample_levels, sample):
        parts = [part.cuda().to(dtype).requires_grad_() for part in inputs]
        out = run(parts[0], shapes, *parts[1:])
        out.float().sin().sum().backward()
        found.append([out, *(part.grad for part in parts)])
    tolerance = 1e-3 if dtype == torch.float32 else 5e-2
    for ours, theirs in zip(*found, strict=True):
        error = (ours.float() - theirs.float()).norm() / theirs.float().norm()
        assert error < tolerance
