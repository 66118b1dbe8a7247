"""Training images without labels learn from the teacher alone."""

import pytest
import torch
from torch.nn import functional as F

from support.steps import classification_module
from vkd.api.train import train
from vkd.classification.config import ClassificationConfig
from vkd.classification.task import ClassificationTask
from vkd.data.images import splits_of
from vkd.errors import FieldError, UserError
from vkd.models.small import SmallCNN
from vkd.training.records import read_metrics
from vkd.training.task import Objects


@pytest.fixture(params=["cross_entropy", "binary_cross_entropy"])
def half(request):
    """A module half of whose sixteen images have a label, and a batch of eight."""
    torch.manual_seed(0)
    return classification_module(
        feature_weight=1.0, label_fraction=0.5, label_loss=request.param
    )  # fmt: skip


def test_only_known_labels_count_and_as_many_as_expected(half):
    module, (images, labels, indices) = half
    terms = module((images, labels, indices))
    known = module.labelled[indices]
    assert 0 < known.sum() < 8
    assert module.labelled.sum() == 8
    logits = module.student(images)
    if module.config.label_loss == "cross_entropy":
        losses = -logits.log_softmax(1)[torch.arange(8), labels]
    else:
        wanted = F.one_hot(labels, 4).float()
        losses = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none").mean(1)
    expected = losses[known].sum() / 4  # half of a batch of eight has labels in the mean
    torch.testing.assert_close(terms["label"], expected)


def test_a_label_that_is_not_known_changes_nothing(half):
    module, (images, labels, indices) = half
    known = module.labelled[indices]
    others = torch.where(known, labels, (labels + 1) % 4)
    first, second = (module((images, given, indices)) for given in (labels, others))
    torch.testing.assert_close(first, second)
    wrong = module((images, torch.where(known, (labels + 1) % 4, labels), indices))
    assert not torch.equal(first["label"], wrong["label"])


def test_all_known_labels_are_training_as_before():
    torch.manual_seed(0)
    module, batch = classification_module(feature_weight=1.0)
    assert module.labelled is None
    losses = module(batch)
    expected = F.cross_entropy(module.student(batch[0]), batch[1])
    torch.testing.assert_close(losses["label"], expected)


def test_a_run_says_how_many_labels_it_uses_and_learns_from_the_others(
    tmp_path, digits_teacher, caplog
):
    fields = {
        "show": False, "device": "cpu", "trackers": "", "epochs": 10, "warmup_epochs": 0,
        "evaluate_every": 10, "teacher_checkpoint": str(digits_teacher), "logit_weight": 1.0,
    }  # fmt: skip
    taught = train("digits", tmp_path / "taught", label_fraction=0.03, **fields)
    assert "label_fraction: 22 of 718 training images have a label." in caplog.text
    fields |= {"method": "none", "logit_weight": 0.0, "batch_size": 11}
    alone = train("digits", tmp_path / "alone", label_fraction=0.03, **fields)
    assert taught["accuracy"] > alone["accuracy"] + 20
    # Two batches of eleven are all that have a label.
    assert read_metrics(tmp_path / "alone")[-1]["updates"] == 2 * 10
    (*_, last) = read_metrics(tmp_path / "taught")
    assert last["train"]["label"] > 0


def test_training_alone_sees_the_images_whose_labels_the_taught_ones_use():
    def task(**fields):
        images = [(torch.full((1, 8, 8), index / 16), index % 4) for index in range(16)]
        config = ClassificationConfig(
            student="own", teacher="own", student_layer="features", teacher_layer="features",
            label_fraction=0.5, seed=3, batch_size=8,
            objects={"data": "Splits", "student": "SmallCNN", "teacher": "SmallCNN"}, **fields,
        )  # fmt: skip
        data = splits_of(images, images, classes=4)
        networks = {role: SmallCNN(widths=(4, 8), num_classes=4) for role in ("student", "teacher")}
        return ClassificationTask(config, Objects(data=data, **networks))

    taught, alone = task(feature_weight=1.0), task(method="none", feature_weight=0.0)
    (batch,) = alone.train_loader()
    known = taught.steps[0].module.labelled
    assert sorted(batch[2].tolist()) == known.nonzero()[:, 0].tolist()
    assert len(batch[2]) == 8


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"label_fraction": 0.0}, "label_fraction must be above 0 and at most 1, found 0"),
        ({"label_fraction": 0.5, "mixup": 0.8}, "label_fraction must be 1 with mixup"),
        ({"label_fraction": 0.5, "method": "dkd"}, "dkd needs labels, which images without labels"),
    ],
)
def test_what_needs_all_labels_is_refused(tmp_path, fields, message):
    with pytest.raises((FieldError, UserError), match=message) as refused:
        train("digits", tmp_path / "run", show=False, **fields)
    assert len(str(refused.value)) <= 300
    assert not (tmp_path / "run").exists()
