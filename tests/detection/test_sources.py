"""A detection run knows its training objects, wherever they lie."""

import copy
import json

import pytest

import vkd
from support.coco import clean_split, write_coco
from vkd.detection.task import truth_digest
from vkd.errors import UserError

FIELDS = {
    "student": "vidt_digits", "epochs": 2, "warmup_epochs": 0, "batch_size": 4, "workers": 0,
    "feature_weight": 0.0, "short_side": 64, "long_side": 96,
}  # fmt: skip


@pytest.fixture
def truth(tmp_path):
    return clean_split(write_coco(tmp_path), "train")[1]


@pytest.mark.parametrize(
    "change",
    [
        lambda truth: truth["annotations"][2]["bbox"].__setitem__(0, 1.5),
        lambda truth: truth["annotations"][0].update(
            category_id=10 - truth["annotations"][0]["category_id"]
        ),
        lambda truth: truth["annotations"].pop(),
        lambda truth: truth["annotations"][1].update(
            iscrowd=1 - truth["annotations"][1]["iscrowd"]
        ),
        lambda truth: truth["images"].pop(),
        lambda truth: truth["images"][0].update(file_name="other.jpg"),
        lambda truth: truth["categories"][0].update(name="other"),
    ],
)
def test_the_digest_changes_with_what_is_learned_from(truth, change):
    other = copy.deepcopy(truth)
    assert truth_digest(other) == truth_digest(truth)
    change(other)
    assert truth_digest(other) != truth_digest(truth)


def test_a_run_goes_on_where_its_data_moved_and_not_on_other_data(tmp_path, interrupted):
    data = write_coco(tmp_path / "data")
    interrupted("vidt-nano-coco", tmp_path / "run", data_path=str(data), **FIELDS)
    moved = data.rename(tmp_path / "moved")
    file = moved / "annotations" / "instances_train2017.json"
    content = json.loads(file.read_text())
    other = copy.deepcopy(content)
    other["annotations"][0]["bbox"][0] += 1
    file.write_text(json.dumps(other))
    again = FIELDS | {"resume": True, "show": False, "data_path": str(moved)}
    with pytest.raises(UserError, match="data_path holds something else"):
        vkd.train("vidt-nano-coco", tmp_path / "run", **again)
    file.write_text(json.dumps(content))
    assert "AP" in vkd.train("vidt-nano-coco", tmp_path / "run", **again)


def test_a_student_object_has_its_own_classes_and_tokens(tmp_path):
    data = write_coco(tmp_path / "data")
    fields = FIELDS | {"student": vkd.create_model("vidt_digits", num_classes=1)}
    with pytest.raises(UserError, match="student has 1 classes, and the data have 2"):
        vkd.train("vidt-nano-coco", tmp_path / "run", data_path=str(data), **fields)
    with pytest.raises(UserError, match="num_det_tokens has no effect with a student given"):
        vkd.train(
            "vidt-nano-coco", tmp_path / "run", data_path=str(data), num_det_tokens=9, **fields
        )
