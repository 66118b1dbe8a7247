"""Questions of the evidence are answered seed by seed, and go on from the file of their answer."""

import html
import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

EVIDENCE = Path(__file__).parents[2] / "benchmarks" / "evidence"
sys.path.insert(0, str(EVIDENCE))

import question as asked  # noqa: E402
from answer import QUESTIONS, RESULTS  # noqa: E402
from figures import IMAGES, described  # noqa: E402
from page import answers, with_tables  # noqa: E402

from support.commands import run_python  # noqa: E402
from vkd.recipe import read_recipe  # noqa: E402

QUICK = {"epochs": 1, "warmup_epochs": 0}


@pytest.fixture
def question(digits_teacher, monkeypatch):
    """Three methods on digits, for an epoch."""
    monkeypatch.setattr(asked.Answer, "_networks", lambda self: {})
    return asked.Question(
        title="digits",
        recipe="digits",
        fields=QUICK | {"teacher_checkpoint": str(digits_teacher)},
        methods={
            "alone": {"feature_weight": 0.0, "method": "none"},
            "linear": {"projection": "linear"},
            "orthogonal": {},
        },
        reference="orthogonal",
        metrics=("accuracy", "loss"),
        alone="alone",
        candidates={
            "alone": [{"lr": 1e-3}, {"lr": 4e-3}],
            "linear": [{"feature_weight": 1.0}, {"feature_weight": 9.0}],
            "orthogonal": [{"feature_weight": 1.0}, {"feature_weight": 9.0}],
        },
        conditions={"whole": {}, "half": {"train_fraction": 0.5}},
        tuned_at="whole",
        most_trials=3,
    )


@pytest.fixture
def compared(monkeypatch):
    """The folders and seeds of all comparisons, which are carried out in this process."""
    found, original = [], asked.vkd.compare
    monkeypatch.setattr(asked, "tune_methods", partial(asked.tune_methods, processes=1))

    def compare(recipe, methods, folder, **options):
        found.append((folder.parent.name, options["seed"]))
        return original(recipe, methods, folder, show=False, processes=1, **options)

    monkeypatch.setattr(asked.vkd, "compare", compare)
    return found


def test_an_answer_goes_on_from_its_file_alone(question, compared, tmp_path):
    file = tmp_path / "results" / "digits.json"
    asked.Answer(question, file, tmp_path / "first").find(1)
    assert compared == [("whole", 0), ("half", 0)]
    before = json.loads(file.read_text())
    answer = asked.Answer(question, file, tmp_path / "second")
    answer.find(2)
    assert compared[2:] == [("whole", 1), ("half", 1)]
    found = json.loads(file.read_text())
    for part in ("chosen", "trials"):
        assert found[part] == before[part]
    for condition, scores in before["scores"].items():
        for name, seeds in scores.items():
            assert found["scores"][condition][name]["0"] == seeds["0"]
    rate = found["chosen"]["alone"]["lr"]
    assert found["chosen"]["linear"]["lr"] == found["chosen"]["orthogonal"]["lr"] == rate
    # Of two candidates one is best, at an edge; a third is all that is allowed.
    assert len(found["trials"]) == 9
    own = found["scores"]["whole"]["orthogonal"]["1"]
    assert len(own["singular_values"]) == 32
    assert {"accuracy", "loss", "cka_before", "cka_after"} <= own.keys()
    linear = found["scores"]["whole"]["linear"]["1"]
    values = linear["singular_values"]
    assert linear["conditions"] == {"1": pytest.approx(values[0] / values[-1], rel=1e-3)}
    assert "conditions" not in own
    assert own["explained"].keys() == linear["explained"].keys() == {"1"}
    assert -200 < linear["explained"]["1"] < 100
    assert any("**half**" in line for line in answer.table())


def test_settings_of_another_question_are_taken(question, compared, tmp_path):
    first = tmp_path / "first.json"
    chosen = {
        "alone": {"lr": 0.001},
        "linear": {"lr": 0.001, "feature_weight": 3.0},
        "orthogonal": {"lr": 0.001, "feature_weight": 5.0},
    }
    first.write_text(json.dumps({"chosen": chosen}))
    own = replace(question, settings_of="first", conditions={"": {}})
    answer = asked.Answer(own, tmp_path / "own.json", tmp_path / "runs")
    answer.find(1)
    assert answer.found["chosen"] == chosen
    assert answer.found["trials"] == []


def test_a_method_that_is_added_later_is_trained_alone(question, compared, tmp_path):
    file = tmp_path / "digits.json"
    first = replace(question, conditions={"": {}}, tuned_at="")
    asked.Answer(first, file, tmp_path / "runs").find(1)
    before = json.loads(file.read_text())
    more = replace(
        first,
        methods={"raw": {"normalization": "identity"}} | dict(first.methods),
        candidates={"raw": [{}]} | dict(first.candidates),
    )
    asked.Answer(more, file, tmp_path / "runs").find(1)
    assert compared == [("all", 0), ("all", 0)]
    found = json.loads(file.read_text())
    assert set(found["scores"][""]) == {"alone", "linear", "orthogonal", "raw"}
    assert found["chosen"]["raw"] == {"lr": found["chosen"]["alone"]["lr"]}
    for name, own in before["scores"][""].items():
        assert found["scores"][""][name] == own
    assert set(found["places"]) == set(found["teachers"]) == {"0", "0 raw"}
    assert len(set(found["teachers"].values())) == 1
    rows = [line for line in found["table"] if line.startswith("| ")]
    assert rows[1].startswith("| raw |")


def test_each_seed_has_a_teacher_of_its_own(question, compared, tmp_path):
    teacher = asked.Network(recipe="digits-teacher", changes={"epochs": 1}, metric="accuracy")
    own = replace(
        question,
        conditions={"": {}},
        tuned_at="",
        candidates={name: [{}] for name in question.methods},
        networks={"teacher": teacher},
        own_teachers=True,
    )
    asked.Answer(own, tmp_path / "digits.json", tmp_path / "runs").find(2)
    found = json.loads((tmp_path / "digits.json").read_text())
    assert len(set(found["teachers"].values())) == 2
    for seed in (0, 1):
        recipe = read_recipe(str(tmp_path / "runs" / f"teacher-{seed}" / "recipe.yaml"))
        assert recipe["seed"] == seed


@pytest.mark.parametrize(
    ("tried", "best", "expected"),
    [
        ([{"w": 1.0}, {"w": 4.0}, {"w": 16.0}], {"w": 4.0}, []),
        ([{"w": 1.0}, {"w": 4.0}, {"w": 16.0}], {"w": 1.0}, [{"w": 0.25}]),
        ([{"w": 1.0}, {"w": 4.0}, {"w": 16.0}], {"w": 16.0}, [{"w": 64.0}]),
        ([{"lr": r, "min_lr": r} for r in (1.0, 2.0)], {"lr": 2.0, "min_lr": 2.0},
         [{"lr": 4.0, "min_lr": 4.0}]),
        ([{"w": w, "t": t} for w in (1.0, 4.0) for t in (1.0, 3.0)], {"w": 4.0, "t": 1.0},
         [{"w": 16.0, "t": 1.0}, {"w": 4.0, "t": 0.333333}]),
        ([{}], {}, []),
    ],
)  # fmt: skip
def test_a_best_at_an_edge_goes_outward(tried, best, expected):
    assert asked.outward(tried, best) == expected


def test_a_table_has_the_paired_interval_of_the_main_figure(question):
    scores = {
        "linear": {"0": {"accuracy": 1.0, "loss": 3.0}, "1": {"accuracy": 2.0, "loss": 3.0}},
        "orthogonal": {"0": {"accuracy": 2.0, "loss": 1.0}, "1": {"accuracy": 5.0, "loss": 1.0}},
    }
    lines = asked.table(scores, question)
    # Differences 1 and 3: mean 2, deviation 1.414 of two, and t(1) of 12.706.
    assert "| linear | 1.50 ± 0.71 | 3.00 ± 0.00 | +2.00 (-10.71 to +14.71) | 2 |" in lines
    assert "| orthogonal | 3.50 ± 2.12 | 1.00 ± 0.00 |  | 2 |" in lines


def test_a_table_tells_of_the_way():
    scores = {
        "alone": {"0": {"accuracy": 1.0}},
        "linear": {
            "0": {"conditions": {"4": 2.0, "12": 5.0}, "explained": {"4": 10.0, "12": 30.0}},
            "1": {"conditions": {"4": 4.0, "12": 5.0}, "explained": {"4": 20.0, "12": 30.0}},
        },
        "orthogonal": {"0": {"explained": {"4": 8.0, "12": 9.0}}},
    }
    assert asked.along_the_way(scores) == [
        "| method | what | epoch 4 | epoch 12 |",
        "|---|---|---|---|",
        "| linear | condition | 3.00 ± 1.41 | 5.00 ± 0.00 |",
        "| linear | explained, % | 15.00 ± 7.07 | 30.00 ± 0.00 |",
        "| orthogonal | explained, % | 8.00 | 9.00 |",
        "",
    ]
    assert asked.along_the_way({"alone": scores["alone"]}) == []


def test_a_metric_that_nobody_has_is_an_error_and_no_empty_column(question):
    scores = {"orthogonal": {"0": {"accuracy": 1.0, "probe": 2.0}}}
    with pytest.raises(ValueError, match="metric loss"):
        asked.table(scores, question)


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_method_of_a_question_has_as_many_trials(name):
    own = QUESTIONS[name]
    assert own.reference in own.methods
    assert own.tuned_at in own.conditions or own.settings_of
    if own.settings_of:
        assert own.methods.keys() <= QUESTIONS[own.settings_of].methods.keys()
        return
    counts = {method: len(own.candidates[method]) for method in own.methods}
    # These have nothing to choose.
    for fixed in {"untrained", "logits alone"} & counts.keys():
        assert own.candidates[fixed] == [{}]
        counts.pop(fixed)
    assert set(counts.values()) == {4}


def test_the_pages_have_the_tables_of_the_results():
    for page, found in answers().items():
        text = page.read_text()
        assert with_tables(text, found) == text
        assert found.keys() <= QUESTIONS.keys() | {"terms", "seeds"}
    with pytest.raises(ValueError, match="has no comments recognition"):
        with_tables("# Evidence", {"recognition": {}})


@pytest.mark.parametrize("file", sorted(RESULTS.glob("*.json")), ids=lambda file: file.stem)
def test_every_answer_has_its_figure_in_the_page(file):
    found = json.loads(file.read_text())["scores"]
    figure = IMAGES / f"evidence-{file.stem}.svg"
    text = html.unescape(figure.read_text())
    assert f">{described(found, QUESTIONS[file.stem])}<" in text
    page = (IMAGES.parent / "evidence.md").read_text()
    assert f"](images/{figure.name})" in page


def test_each_of_several_projections_is_looked_at(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1, "seconds": 1.0}\n')
    matrices = {"body": torch.diag(torch.tensor([4.0, 2.0])), "neck": torch.eye(2)}
    save_file(matrices, tmp_path / "projection.safetensors")
    assert asked.looked_at(tmp_path) == {
        "conditions_of": {"body": 2.0, "neck": 1.0},
        "condition": 2.0,
    }
    save_file({"weight": matrices["body"]}, tmp_path / "projection.safetensors")
    assert asked.looked_at(tmp_path) == {"singular_values": [4.0, 2.0], "condition": 2.0}


def said(script, *words):
    """What a script of the evidence prints, and its errors."""
    done = run_python(EVIDENCE / script, *words)
    return done.stdout + done.stderr


def test_a_difference_of_any_metric_is_printed_and_names_are_checked():
    command = ["difference.py", "recognition", "SRD", "alone"]
    assert "+6.16 (+4.67 to +7.65)" in said(*command)
    assert said(*command[:3], "KD", "--metric", "cka_after").startswith("+0.1")
    for words, fault in (
        ((*command, "--metric", "speed"), "argument --metric: speed is none of accuracy, "),
        ((*command[:3], "another"), "another is none of alone, "),
    ):
        assert fault in said(*words)
