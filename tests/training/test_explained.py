"""What students explain of their teachers is measured, recorded and, where nothing, said."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import r2_score

from support.steps import classification_module, detection_module, generation_modules
from vkd.api.train import train
from vkd.methods.build import build_method
from vkd.methods.method import Signals, Sizes
from vkd.reporting.curves import metric_curves
from vkd.reporting.plots import looks
from vkd.reporting.report import write_report
from vkd.similarity import explained_share
from vkd.training.explained import standing
from vkd.training.records import read_metrics


@given(st.integers(2, 20), st.integers(1, 9), st.integers(0, 9999))
def test_the_share_is_the_coefficient_of_determination(rows, width, seed):
    random = torch.Generator().manual_seed(seed)
    target, noise = torch.randn(2, rows, width, generator=random)
    predicted = target + 0.5 * noise
    expected = r2_score(target, predicted, multioutput="variance_weighted")
    unbiased = 1 - (1 - expected) * (rows - 1) / rows
    assert float(explained_share(predicted, target)) == pytest.approx(unbiased, abs=1e-4)


def test_the_mean_of_all_explains_nothing_and_the_target_itself_all():
    random = torch.Generator().manual_seed(0)
    batches = 3 + torch.randn(4000, 8, 5, generator=random)
    shares = [explained_share(torch.full((8, 5), 3.0), batch) for batch in batches]
    assert float(torch.stack(shares).mean()) == pytest.approx(0, abs=0.03)
    assert float(explained_share(batches[0], batches[0])) == 1
    alike = torch.randn(1, 7, generator=random).expand(100, 7)
    assert float(explained_share(alike + 0.01, alike)) == 0
    standardised = (batches[0] - batches[0].mean(0)) / batches[0].std(0)
    assert float(explained_share(torch.zeros(8, 5), standardised)) == pytest.approx(1 / 8, rel=1e-5)


@pytest.mark.parametrize("name", ["vkd", "linear", "mlp", "srd"])
def test_methods_that_match_features_tell_their_share(name):
    method = build_method(name, Sizes(student_dim=6, teacher_dim=9), {}, {})
    assert method.explained is None
    ours, theirs = torch.randn(12, 6), torch.randn(12, 9)
    method(Signals(student_features=ours, teacher_features=theirs))
    if name == "srd":
        projected = torch.nn.functional.batch_norm(
            method.projection(ours), None, None, training=True
        )
    else:
        projected = method.loss.projection(ours)
    expected = explained_share(projected, method.target(theirs))
    assert not expected.requires_grad
    assert float(method.explained) == pytest.approx(float(expected), abs=1e-3)


def test_a_method_that_compares_samples_has_none():
    method = build_method("rkd", Sizes(student_dim=6, teacher_dim=9), {}, {})
    method(Signals(student_features=torch.randn(12, 6), teacher_features=torch.randn(12, 9)))
    assert method.explained is None


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda: classification_module(feature_weight=1.0), {"feature"}),
        (
            lambda: detection_module("distilled"),
            {"patch_0", "patch_1", "patch_2", "patch_3", "body", "neck"},
        ),
        (lambda: (generation_modules()[0][0], generation_modules()[1]), {"feature"}),
    ],
    ids=["classification", "detection", "generation"],
)
def test_the_modules_of_every_task_tell_theirs(make, names):
    module, batch = make()
    module(batch)
    shares = module.explained()
    assert shares.keys() == names
    assert all(share.ndim == 0 and float(share) <= 1 for share in shares.values())


def epochs(*shares):
    return [{"epoch": n, "explained": {"feature": share}} for n, share in enumerate(shares, 1)]


def test_a_loss_that_has_not_taught_is_named():
    (message,) = standing(epochs(-0.03, 0.1, -0.025))
    assert "explains -2.5% of the variance" in message
    assert "after -3.0% in the first epoch" in message
    assert len(message) <= 300


@pytest.mark.parametrize("first", [-5e4, -2e5, -1.0])
def test_a_share_far_below_nothing_is_told_as_that(first):
    (message,) = standing(epochs(first, -1e5))
    assert "explains -100.0% or less of the variance" in message
    assert "after -100.0% or less in the first epoch" in message
    assert len(message) <= 300


def test_one_loss_far_below_nothing_leaves_the_curves_of_others_readable():
    records = [
        {"epoch": n, "train": {"loss": 1.0}, "explained": {"body": 0.5, "patch_3": -1e5}}
        for n in (1, 2)
    ]
    runs = {"distilled": [records]}
    *_, drawing = metric_curves(runs, looks(runs))
    assert "-100" in drawing.alt
    assert "1e" not in drawing.alt
    assert "0000" not in drawing.alt + drawing.svg


@pytest.mark.parametrize(
    "records",
    [
        epochs(0.0, 0.05),
        epochs(0.8, 0.8),
        epochs(0.0),
        [{"epoch": 1}, {"epoch": 2}],
        [{"epoch": 0}, *epochs(0.3, 0.301)],
        [],
    ],
    ids=["rises", "knows most", "one epoch", "no feature loss", "first not recorded", "no epoch"],
)
def test_others_are_not(records):
    assert standing(records) == []


def test_each_set_of_tokens_is_told_apart():
    records = [
        {"epoch": 1, "explained": {"body": 0.1, "neck": 0.1}},
        {"epoch": 2, "explained": {"body": 0.1, "neck": 0.3}},
    ]
    (message,) = standing(records)
    assert "its features of body" in message


@pytest.mark.parametrize("weight", [10.0, 1e-9], ids=["acts", "too small a weight"])
def test_a_run_records_its_share_and_says_where_it_stands(digits_teacher, tmp_path, weight, caplog):
    run = tmp_path / "run"
    train(
        "digits", run, show=False, device="cpu", trackers="", epochs=4, warmup_epochs=0,
        feature_weight=weight, teacher_checkpoint=str(digits_teacher),
    )  # fmt: skip
    shares = [record["explained"]["feature"] for record in read_metrics(run)]
    assert len(shares) == 4
    notes = run / "notes.txt"
    if weight == 10:
        assert shares[-1] > shares[0] + 0.05
        assert not notes.exists()
    else:
        assert shares[-1] < shares[0] + 0.01
        assert "the loss has hardly taught it" in notes.read_text()
        assert "the loss has hardly taught it" in caplog.text
    text = write_report([run], tmp_path / "r.html").read_text()
    assert "share explained, %" in text
    assert ("hardly taught" in text) == (weight != 10)


def test_pairs_of_an_embedding_are_told_apart(tmp_path, digits_teacher):
    shown = {}
    for layers in ({}, {"blocks.1": "features", "norm": "features"}):
        run = tmp_path / str(len(layers))
        fields = {"layers": layers} if layers else {}
        train(
            "digits-embedding", run, show=False, device="cpu", trackers="", epochs=1,
            warmup_epochs=0, evaluate_every=1, teacher_checkpoint=str(digits_teacher), **fields,
        )  # fmt: skip
        (record,) = read_metrics(run)
        shown[len(layers)] = set(record["explained"])
    assert shown == {0: {"feature"}, 2: {"blocks.1 -> features", "norm -> features"}}
