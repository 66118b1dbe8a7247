"""What is recorded for a report changes nothing of a training, and says what it lacks."""

import json
from types import SimpleNamespace

import pytest
import torch
from accelerate.utils import DistributedType
from PIL import Image
from safetensors.torch import load_file

from support.canvases import few_canvases
from support.two_processes import even_training
from vkd.api.train import train
from vkd.classification.mistakes import MOST_CLASSES, Answers
from vkd.classification.task import ClassificationTask
from vkd.recipe import config_of, read_recipe, recipe
from vkd.reporting.report import write_report
from vkd.training import trainer
from vkd.training.findings import Absent, Lines, Matrix, PictureRows, Pictures, Table
from vkd.training.findings_files import read_findings
from vkd.training.recording import record_before
from vkd.training.similarities import read_similarities, samples_to_compare
from vkd.training.task import Evaluated


@pytest.fixture
def config(digits_teacher):
    return recipe(
        "digits", teacher_checkpoint=str(digits_teacher), epochs=2, warmup_epochs=0,
        evaluate_every=1, checkpoint_every=1, device="cpu", trackers="", crop_padding=1,
    )  # fmt: skip


def weights_of(run):
    return load_file(run / "model.safetensors")


def recorded(run):
    names = sorted([*run.glob("similarity-*.json"), *(run / "findings").iterdir()])
    return {file.relative_to(run): file.read_bytes() for file in names}


def test_a_run_that_records_nothing_has_the_same_weights(config, tmp_path, monkeypatch):
    train(config, tmp_path / "with", show=False)
    for name in ("record_before", "record_after"):
        monkeypatch.setattr(trainer, name, lambda *_: None)
    train(config, tmp_path / "without", show=False)
    first, second = (weights_of(tmp_path / name) for name in ("with", "without"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not list((tmp_path / "without").glob("similarity-*"))


def test_a_run_that_draws_while_recording_has_the_same_weights(config, tmp_path, monkeypatch):
    train(config, tmp_path / "without", show=False)
    original = ClassificationTask.similarities

    def drawing(task, model):
        torch.randn(7)
        return original(task, model)

    monkeypatch.setattr(ClassificationTask, "similarities", drawing)
    train(config, tmp_path / "with", show=False)
    first, second = (weights_of(tmp_path / name) for name in ("with", "without"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_resumed_run_records_the_same(config, tmp_path, train_in_two_parts):
    train(config, tmp_path / "whole", show=False)
    train_in_two_parts(config, tmp_path / "parts")
    assert recorded(tmp_path / "whole") == recorded(tmp_path / "parts")


def test_what_cannot_be_recorded_is_said_and_costs_no_training(
    config, tmp_path, monkeypatch, caplog
):
    def broken(task, model):
        raise IndexError("a fault")

    monkeypatch.setattr(ClassificationTask, "similarities", broken)
    monkeypatch.setattr(ClassificationTask, "findings", broken)
    metrics = train(config, tmp_path / "run", show=False)
    assert metrics["accuracy"] > 0
    assert "the findings could not be recorded for the report: IndexError: a fault" in caplog.text
    (found,) = read_findings(tmp_path / "run")
    assert isinstance(found, Absent)
    text = write_report([tmp_path / "run"], tmp_path / "r.html").read_text()
    assert "Not recorded by run: IndexError: a fault." in text


def test_the_confusion_matrix_counts_every_image_once(digits_run):
    matrix, mistakes = read_findings(digits_run)
    assert isinstance(matrix, Matrix)
    counts = torch.tensor(matrix.counts)
    last = json.loads((digits_run / "metrics.jsonl").read_text().splitlines()[-1])
    assert int(counts.sum()) == 180
    assert 100 * int(counts.trace()) / 180 == pytest.approx(last["validation"]["accuracy"])
    assert isinstance(mistakes, Pictures)
    assert len(mistakes.pictures) == min(16, 180 - int(counts.trace()))


def test_the_worst_mistakes_come_first_and_many_classes_are_cut():
    classes, images = 50, 400
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(images, classes, generator=random)
    labels = torch.randint(classes, (images,), generator=random)
    answers = Answers()
    for start in range(0, images, 100):
        part = slice(start, start + 100)
        answers.add(logits[part], labels[part], torch.arange(images)[part])
    asked = []

    def picture_of(index):
        asked.append(index)
        return Image.new("L", (2, 2))

    matrix, mistakes = answers.findings([str(n) for n in range(classes)], picture_of)
    losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    wrong = logits.argmax(1) != labels
    expected = torch.where(wrong, losses, -1).topk(16).indices.tolist()
    assert asked == expected
    assert f"16 of {int(wrong.sum())} wrong images" in mistakes.text
    assert len(matrix.names) == MOST_CLASSES
    assert f"{MOST_CLASSES} of {classes} classes" in matrix.text
    places = [int(name) for name in matrix.names]
    shown = sum(
        int(labels[n]) in places and int(logits[n].argmax()) in places for n in range(images)
    )
    assert sum(map(sum, matrix.counts)) == shown


def test_training_makes_features_more_alike(digits_run):
    before, after = (read_similarities(digits_run, stage) for stage in ("before", "after"))
    (first,), (last,) = before.found, after.found
    assert last.cka > first.cka
    assert sum(last.of_span) > sum(first.of_span)
    assert sum(last.of_span) <= sum(last.of_teacher) <= 1 + 1e-4
    assert last.width == 32


@pytest.mark.parametrize("changes", [{"ema_decay": 0.9}, {"method": "dkd"}, {"feature_weight": 0}])
def test_other_networks_and_methods_are_compared_too(config, changes, digits_teacher, tmp_path):
    values = {"logit_weight": 1.0} if "feature_weight" in changes else {}
    train(config, tmp_path / "run", show=False, epochs=1, **(values | changes))
    found = read_similarities(tmp_path / "run", "after")
    assert len(found.found) == 1, found.reason


def test_at_most_a_hundredth_of_the_samples_is_compared():
    assert samples_to_compare(10_000, 1_000_000) == 512
    assert samples_to_compare(10_000, 30_000) == 300
    assert samples_to_compare(10_000, 10) == 64
    assert samples_to_compare(9, 10) == 9


@pytest.mark.slow
def test_a_compiled_network_is_compared_as_it_is_written(config, tmp_path):
    train(config, tmp_path / "plain", show=False, epochs=1)
    train(config, tmp_path / "compiled", show=False, epochs=1, compile=True)
    (plain,), (compiled,) = (
        read_similarities(tmp_path / name, "before").found for name in ("plain", "compiled")
    )
    assert compiled.cka == pytest.approx(plain.cka, abs=1e-4)
    assert len(read_similarities(tmp_path / "compiled", "after").found) == 1


@pytest.mark.slow
def test_a_detector_records_curves_boxes_and_tokens(tmp_path):
    shared = {"batch_size": 4, "device": "cpu", "warmup_epochs": 0, "trackers": "", "epochs": 1}
    with few_canvases(12, 8, 8):
        teacher = config_of(read_recipe("digits-detection-teacher") | shared)
        train(teacher, tmp_path / "teacher", show=False)
        values = read_recipe("digits-detection") | shared
        values |= {"teacher_checkpoint": str(tmp_path / "teacher")}
        train(config_of(values), tmp_path / "run", show=False)
    kinds = {found.title: found for found in read_findings(tmp_path / "run")}
    assert isinstance(kinds["Precision by recall"], Lines | Absent)
    assert isinstance(kinds["Categories"], Table | Absent)
    assert isinstance(kinds["Boxes on pictures"], PictureRows)
    assert all(len(row) == 2 for row in kinds["Boxes on pictures"].rows)
    found = read_similarities(tmp_path / "run", "after").found
    assert [one.features for one in found][-2:] == ["body tokens", "neck tokens"]
    assert len(found) == 6
    text = write_report([tmp_path / "run"], tmp_path / "r.html").read_text()
    assert "run: patch 0" in text


@pytest.mark.slow
def test_two_processes_record_what_one_does(two_processes, digits_teacher, tmp_path):
    train(even_training(digits_teacher, 64), tmp_path / "one", show=False)
    for stage in ("before", "after"):
        (alone,), (together,) = (
            read_similarities(run, stage).found for run in (tmp_path / "one", two_processes / "two")
        )
        assert together.samples == alone.samples
        assert together.cka == pytest.approx(alone.cka, abs=1e-3)
    matrices = [read_findings(run)[0] for run in (tmp_path / "one", two_processes / "two")]
    first, second = (torch.tensor(matrix.counts) for matrix in matrices)
    assert int(first.sum()) == int(second.sum()) == 180
    assert int((first - second).abs().sum()) <= 4


def test_sharded_weights_are_said_not_to_be_compared(tmp_path):
    accelerator = SimpleNamespace(distributed_type=DistributedType.FSDP, is_main_process=True)
    record_before(None, Evaluated(None, None, accelerator), tmp_path, False)
    found = read_similarities(tmp_path, "before")
    assert found.reason == "weights that are sharded are not compared"


def test_an_embedding_records_its_nearest_neighbours(digits_teacher, tmp_path):
    config = recipe(
        "digits-embedding", teacher_checkpoint=str(digits_teacher), epochs=1, warmup_epochs=0,
        evaluate_every=1, device="cpu", trackers="",
    )  # fmt: skip
    train(config, tmp_path / "run", show=False)
    by_student, by_teacher = read_findings(tmp_path / "run")
    assert by_student.title == "Nearest neighbours by the student"
    for found in (by_student, by_teacher):
        assert [len(row) for row in found.rows] == [6] * 6
        for query, *others in found.rows:
            assert query.caption not in {other.caption.split(", cosine")[0] for other in others}
            cosines = [float(other.caption.split("cosine ")[1]) for other in others]
            assert cosines == sorted(cosines, reverse=True)
    text = write_report([tmp_path / "run"], tmp_path / "r.html").read_text()
    assert "nearest first" in text
