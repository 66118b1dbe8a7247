"""The number of detection tokens, and pictures with more objects than that."""

import torch

from support.coco import write_coco
from vkd.detection.config import DetectionConfig
from vkd.detection.task import DetectionTask


def task(folder, **fields):
    write_coco(folder, (("train", 6), ("val", 4)))
    return DetectionTask(
        DetectionConfig(
            data_path=str(folder), student="vidt_digits", short_side=32, long_side=64, **fields
        )
    )


def test_a_student_has_as_many_tokens_as_the_recipe_says(tmp_path, caplog):
    made = task(tmp_path, num_det_tokens=7)
    outputs = made.model([torch.zeros(3, 32, 32)])
    assert outputs["pred_boxes"].shape[1] == 7
    assert "detection tokens" not in caplog.text


def test_more_objects_than_tokens_are_said(tmp_path, caplog):
    # The maker puts two objects into every second picture, and none into the last.
    task(tmp_path, num_det_tokens=1)
    assert "2 images have more objects than the student's 1 detection tokens, at most 2" in (
        caplog.text
    )
