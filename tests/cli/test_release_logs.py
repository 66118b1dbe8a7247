"""What the commands of the release write and print of a run, in the release's formats."""

import csv
import json

import pytest

from vkd.cli.release_logs import deit_logs, vidt_logs
from vkd.recipe import recipe
from vkd.training.extra_log import RunShape

SHAPE = RunShape(epochs=3, steps=20, updates=10, parameters=123, metric="AP")
# Of the release's own parsers of options.
COEFFICIENTS = {"loss_ce": 2.0, "loss_bbox": 5.0, "loss_giou": 2.0, "loss_iouaware": 2.0}
PERCENT = {
    "AP": 43.0, "AP50": 62.3, "AP75": 46.2, "APsmall": 24.8, "APmedium": 45.3, "APlarge": 60.1,
    "AR1": 34.0, "AR10": 55.0, "AR100": 58.0, "ARsmall": -1, "ARmedium": 62.0, "ARlarge": 79.0,
}  # fmt: skip


def detection_record(**more):
    layers = {
        f"{kind}{layer}": value
        for kind, value in (("class", 0.5), ("box", 0.1), ("giou", 0.4), ("iou", 0.3))
        for layer in ("", ".0", ".5")
    }
    measures = {"lr": 5e-5, "class_error": 40.0} | layers
    train = {"class": 3.0, "box": 1.5, "giou": 2.4, "iou": 1.8, "feature": 8.0, "loss": 16.7}
    return {"epoch": 2, "updates": 20, "lr": 1e-5, "train": train, "measures": measures} | more


def test_log_txt_has_the_keys_and_units_of_the_release():
    config = recipe("vidt-nano-coco", iou_weight=2.0)
    (log,) = vidt_logs(config)
    assert log.file == "log.txt"
    (line,) = log.text([detection_record(validation=PERCENT)], [], SHAPE).splitlines()
    found = json.loads(line)
    expected = {
        f"train_{name}{layer}{unscaled}"
        for name in COEFFICIENTS
        for layer in ("", "_0", "_5")
        for unscaled in ("", "_unscaled")
    } | {
        "train_lr", "train_class_error", "train_loss", "train_loss_distil",
        "train_loss_distil_unscaled", "test_coco_eval_bbox", "epoch", "n_parameters",
    }  # fmt: skip
    assert set(found) == expected
    for name, weight in COEFFICIENTS.items():
        for layer in ("", "_0", "_5"):
            plain = found[f"train_{name}{layer}_unscaled"]
            assert found[f"train_{name}{layer}"] == pytest.approx(weight * plain)
    assert found["train_loss_distil_unscaled"] == 2.0
    assert (found["epoch"], found["n_parameters"], found["train_lr"]) == (1, 123, 5e-5)
    box = found["test_coco_eval_bbox"]
    assert box == pytest.approx([v / 100 if v >= 0 else v for v in PERCENT.values()])


def test_an_epoch_that_is_not_evaluated_has_no_test_keys():
    (log,) = vidt_logs(recipe("vidt-nano-coco"))
    (line,) = log.text([detection_record()], [], SHAPE).splitlines()
    assert not any(key.startswith("test_") for key in json.loads(line))
    assert log.shown(detection_record()) == ""


def test_cocos_table_is_printed_as_its_own_evaluation_does():
    (log,) = vidt_logs(recipe("vidt-nano-coco"))
    lines = log.shown(detection_record(validation=PERCENT)).splitlines()
    assert len(lines) == 12
    assert lines[0] == (
        " Average Precision  (AP) @[ IoU=0.50:0.95 | area=   all | maxDets=100 ] = 0.430"
    )
    assert lines[1] == (
        " Average Precision  (AP) @[ IoU=0.50      | area=   all | maxDets=100 ] = 0.623"
    )
    assert lines[6] == (
        " Average Recall     (AR) @[ IoU=0.50:0.95 | area=   all | maxDets=  1 ] = 0.340"
    )
    assert lines[9].endswith("area= small | maxDets=100 ] = -1.000")


def test_csv_files_have_the_releases_columns():
    train, validation = deit_logs()
    terms = {"feature": 0.25, "logit": 1.5, "label": 6.9}
    updates = [{"update": update, "terms": terms} for update in (10, 11, 20, 21)]
    record = {"epoch": 2, "validation": {"accuracy": 12.345678, "top5": 30.0, "loss": 5.0}}
    rows = list(csv.DictReader([train.header, *train.text([record], updates, SHAPE).split()]))
    assert [row["epoch"] for row in rows] == ["1", "1"]
    assert [row["itr"] for row in rows] == ["0", "9"]
    assert rows[0] == {
        "epoch": "1", "itr": "0", "xe_loss": "6.90000", "repr_distill_loss": "0.25000",
        "kl_loss": "1.50000",
    }  # fmt: skip
    (row,) = csv.DictReader([validation.header, *validation.text([record], [], SHAPE).split()])
    assert row == {"epoch": "1", "acc1": "12.34568", "acc5": "30.00000"}
    assert validation.shown(record) == " * Acc@1 12.346 Acc@5 30.000"
    assert (train.file, validation.file) == ("r0_train.csv", "r0_val.csv")
