"""Pictures that cannot be read: left out of metrics, replaced in training, up to a limit."""

import json

import pytest
import torch
from accelerate import Accelerator
from PIL import Image

from vkd.detection.categories import categories_of
from vkd.detection.coco import CocoImages, detection_loader
from vkd.detection.identifiers import OriginalIds
from vkd.detection.task import evaluate_detector
from vkd.detection.transforms import detection_transform
from vkd.errors import RunError, UserError

BOX = [8, 4, 16, 8]


def made(folder, count=3, size=(48, 32), **options):
    """Grey pictures with one object each; their entries claim turned sizes."""
    truth = {
        "images": [
            {"id": i, "file_name": f"{i}.png", "height": size[0], "width": size[1]}
            for i in range(count)
        ],
        "annotations": [
            {"id": i + 1, "image_id": i, "category_id": 1, "bbox": BOX, "area": 128, "iscrowd": 0}
            for i in range(count)
        ],
        "categories": [{"id": 1, "name": "thing"}],
    }
    for i in range(count):
        Image.new("RGB", size, (90, 90, 90)).save(folder / f"{i}.png")
    return CocoImages(folder, truth, categories_of(truth), detection_transform(0), **options)


def perfect(images):
    """What a detector that sees BOX in every picture of 48 x 32 gives."""
    left, top, width, height = BOX
    box = [(left + width / 2) / 48, (top + height / 2) / 32, width / 48, height / 32]
    count = len(images)
    return {
        "pred_logits": torch.full((count, 1, 1), 9.0),
        "pred_boxes": torch.tensor([[box]] * count),
    }


def test_metrics_are_in_the_frame_of_the_picture_not_of_the_file(tmp_path):
    data = made(tmp_path)
    metrics, *_ = evaluate_detector(perfect, detection_loader(data, 2), Accelerator(cpu=True), data)
    assert metrics["AP"] == pytest.approx(100)
    assert "skipped" not in metrics
    assert data[0][1]["original_size"].tolist() == [32, 48]


@pytest.mark.parametrize("workers", [0, 1])
def test_metrics_leave_unreadable_pictures_out_and_count_them(tmp_path, workers, caplog):
    data = made(tmp_path)
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:30])
    batches = detection_loader(data, 2, workers=workers)
    metrics, records, _ = evaluate_detector(perfect, batches, Accelerator(cpu=True), data)
    assert metrics["AP"] == pytest.approx(100)
    assert metrics["skipped"] == 1
    assert {record["image_id"] for record in records} == {0, 2}
    if not workers:
        assert "1.png" in caplog.text


def test_the_next_readable_picture_takes_the_place_in_training(tmp_path):
    data = made(tmp_path, substitute=True)
    (tmp_path / "1.png").write_bytes(b"")
    assert [int(data[i][1]["image_id"]) for i in range(3)] == [0, 2, 2]
    assert data.unreadable.count == 1


def test_too_many_unreadable_pictures_end_the_run(tmp_path):
    data = made(tmp_path, substitute=True, max_corrupt=0)
    (tmp_path / "2.png").unlink()
    (tmp_path / "2.png").symlink_to("nowhere.png")
    with pytest.raises(RunError, match=r"max_corrupt = 0.*2\.png"):
        data[2]


def test_no_readable_picture_at_all_is_no_score_of_zero(tmp_path):
    data = made(tmp_path, 1)
    (tmp_path / "0.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match="no image to evaluate on"):
        evaluate_detector(perfect, detection_loader(data, 1), Accelerator(cpu=True), data)


def test_pictures_are_turned_as_viewers_show_them(tmp_path):
    data = made(tmp_path, 1)
    stored = Image.new("RGB", (32, 48))
    exif = stored.getexif()
    exif[0x0112] = 6
    stored.save(tmp_path / "0.png", exif=exif)
    image, target = data[0]
    assert image.shape[1:] == (32, 48)
    assert target["original_size"].tolist() == [32, 48]


def test_records_carry_the_ids_of_the_file():
    ids = OriginalIds({1: "a.png"}, {2: "7"})
    records = [{"image_id": 1, "category_id": 2}, {"image_id": 5, "category_id": 6}]
    assert json.loads(json.dumps(ids.restored(records))) == [
        {"image_id": "a.png", "category_id": "7"},
        {"image_id": 5, "category_id": 6},
    ]
