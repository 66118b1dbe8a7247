"""Comparisons of methods: what is trained, what is kept, what is said."""

import json
import re
import subprocess
import sys
import time

import psutil
import pytest
import torch
from scipy import stats

import vkd
from vkd.cli import main
from vkd.comparison import runner, runs
from vkd.comparison.results import paired_differences, verdict
from vkd.comparison.tuning import Tuning, candidates
from vkd.comparison.variants import variants_of
from vkd.errors import FieldError, UserError
from vkd.methods.catalogue import METHODS, MethodEntry
from vkd.methods.method import Method
from vkd.recipe import recipe
from vkd.reporting.statistics import Interval

QUICK = {
    "epochs": 1, "warmup_epochs": 0, "train_fraction": 0.3, "device": "cpu", "batch_size": 32,
}  # fmt: skip


class Nearest(Method):
    """A method from outside the package."""

    def forward(self, signals):
        """Return a loss."""
        return signals.student_features.pow(2).mean()


@pytest.fixture
def compare(digits_teacher):
    """``vkd.compare`` on a part of the digits, for an epoch, in this process."""

    def run(methods, folder, **options):
        options = {"seeds": 2, "processes": 1, "show": False} | options
        changes = {"teacher_checkpoint": str(digits_teacher)} | QUICK
        return vkd.compare("digits", methods, folder, **changes | options)

    return run


@pytest.fixture
def trained(monkeypatch):
    """The folders that are trained in, by name, as they are."""
    found, original = [], runs.train

    def train(config, folder, **options):
        found.append(folder.name)
        return original(config, folder, **options)

    monkeypatch.setattr(runs, "train", train)
    return found


@pytest.fixture
def evaluated(monkeypatch):
    """The folders that are evaluated on the test split."""
    found, original = [], runs.evaluate

    def evaluate(folder, **options):
        found.append(folder)
        return original(folder, **options)

    monkeypatch.setattr(runs, "evaluate", evaluate)
    return found


@pytest.fixture(scope="module")
def compared(digits_teacher, tmp_path_factory):
    """A finished comparison of three methods: its folder and results."""
    folder = tmp_path_factory.mktemp("comparison") / "found"
    changes = QUICK | {"teacher_checkpoint": str(digits_teacher)}
    methods = ["vkd", "kd", "none"]
    results = vkd.compare("digits", methods, folder, seeds=2, processes=1, show=False, **changes)
    return folder, results


def test_the_results_hold_what_they_should(compared):
    folder, results = compared
    assert json.loads((folder / "results.json").read_text()) == results
    assert (results["metric"], results["reference"]) == ("accuracy", "vkd")
    assert list(results["methods"]) == ["vkd", "kd", "none"]
    assert all(len(found["accuracy"]) == 2 for found in results["methods"].values())
    assert results["settings"]["vkd"] == {}
    assert results["settings"]["none"] == {"feature_weight": 0.0, "method": "none"}
    assert results["environment"]["torch"] == torch.__version__
    assert results["recipe"]["epochs"] == 1
    assert results["seconds"] > 0


def test_the_test_metrics_are_those_of_the_checkpoints(compared):
    folder, results = compared
    again = vkd.evaluate(str(folder / "runs" / "kd-1"))
    assert again["accuracy"] == results["methods"]["kd"]["accuracy"][1]


def test_the_differences_are_those_of_a_paired_t_test(compared):
    _, results = compared
    ours, theirs = (results["methods"][name]["accuracy"] for name in ("vkd", "kd"))
    gaps = [a - b for a, b in zip(ours, theirs, strict=True)]
    ends = stats.ttest_1samp(gaps, 0).confidence_interval(0.95)
    found = paired_differences(results)["kd"]
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high))


def test_the_page_is_self_contained_and_shows_every_method(compared):
    folder, _ = compared
    text = (folder / "report.html").read_text()
    assert text.count("<svg") >= 3
    assert not re.search(r'(src|href)="(?!#|data:)', text)
    for part in ('row">vkd', 'row">kd', 'row">none', "95 % interval", "torch:"):
        assert part in text


@pytest.mark.parametrize(
    ("interval", "lower_is_better", "expected"),
    [
        (Interval(-1, -2, -0.5), False, "worse"),
        (Interval(-1, -2, -0.5), True, "better"),
        (Interval(1, 0.5, 2), False, "better"),
        (Interval(1, 0.5, 2), True, "worse"),
        (Interval(1, -0.5, 2), False, "not separable"),
    ],
)
def test_a_reference_that_loses_is_called_worse(interval, lower_is_better, expected):
    assert verdict(interval, lower_is_better) == expected


def test_finished_runs_are_not_repeated_and_more_seeds_extend_them(compare, tmp_path, trained):
    first = compare(["vkd", "none"], tmp_path / "c", seeds=1)
    assert trained == ["vkd-0", "none-0"]
    assert paired_differences(first) == {}
    assert "One seed gives no intervals" in (tmp_path / "c" / "report.html").read_text()
    second = compare(["vkd", "none", "kd"], tmp_path / "c")
    assert sorted(trained[2:]) == ["kd-0", "kd-1", "none-1", "vkd-1"]
    accuracies = [r["methods"]["vkd"]["accuracy"][0] for r in (first, second)]
    assert accuracies[0] == accuracies[1]


def test_an_interrupted_comparison_resumes(compare, tmp_path, monkeypatch, trained):
    def stop(run):
        if len(trained) == 1:
            raise KeyboardInterrupt
        return runs.carry_out(run)

    with monkeypatch.context() as patch:
        patch.setattr(runner, "carry_out", stop)
        with pytest.raises(KeyboardInterrupt, match="the same command continues"):
            compare(["vkd", "none"], tmp_path / "c", seeds=1)
    compare(["vkd", "none"], tmp_path / "c", seeds=1)
    assert trained == ["vkd-0", "none-0"]


def test_a_run_that_was_interrupted_resumes_from_its_checkpoint(compare, tmp_path, monkeypatch):
    from vkd.training import recovery

    original = recovery.save_state

    def stop(*arguments, **options):
        original(*arguments, **options)
        raise KeyboardInterrupt

    options = {"seeds": 1, "epochs": 2, "checkpoint_every": 1}
    with monkeypatch.context() as patch:
        patch.setattr(recovery, "save_state", stop)
        with pytest.raises(KeyboardInterrupt):
            compare(["vkd", "none"], tmp_path / "c", **options)
    compare(["vkd", "none"], tmp_path / "c", **options)
    whole = compare(["vkd", "none"], tmp_path / "whole", **options)
    again = json.loads((tmp_path / "c" / "results.json").read_text())
    assert again["methods"]["vkd"]["accuracy"] == whole["methods"]["vkd"]["accuracy"]


def test_another_recipe_in_the_folder_is_refused(compare, tmp_path, compared):
    folder, _ = compared
    with pytest.raises(FieldError, match=r"^epochs is 2 but the comparison in .* has 1"):
        compare(["vkd", "kd"], folder, epochs=2)
    with pytest.raises(FieldError, match=r"^feature_weight is 3.0 but .*vkd-0 was trained with 10"):
        compare({"vkd": {"feature_weight": 3.0}, "kd": {"method": "kd"}}, folder)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FieldError, match="is no comparison"):
        compare(["vkd", "kd"], tmp_path)


def test_tuning_evaluates_validation_alone(compare, tmp_path, evaluated, trained):
    tuning = Tuning(candidates={"vkd": [{"feature_weight": w} for w in (10.0, 0.001)]})
    results = compare(["vkd", "none"], tmp_path / "c", seeds=1, tuning=tuning)
    tried = [name for name in trained if name not in ("vkd-0", "none-0")]
    assert len(tried) == 2 + 5
    assert all(name.endswith("-100") for name in tried)
    assert [folder.split("/")[-1] for folder in evaluated] == ["vkd-0", "none-0"]
    assert all(len(trial["validation"]) == 1 for trial in results["tuning"])
    kept = json.loads((tmp_path / "c" / "tuning.json").read_text())
    assert kept["trials"] == results["tuning"]
    for name, changes in kept["chosen"].items():
        scores = {
            tuple(trial["changes"].items()): trial["validation"][0]
            for trial in kept["trials"]
            if trial["variant"] == name
        }
        assert scores[tuple(changes.items())] == max(scores.values())
        assert (results["recipe"] | results["settings"][name]).items() >= changes.items()
    assert "Tuning, on the validation split" in (tmp_path / "c" / "report.html").read_text()
    count = len(trained)
    compare(["vkd", "none"], tmp_path / "c", seeds=1, tuning=tuning)
    assert len(trained) == count


def test_every_variant_has_as_many_candidates():
    variants = variants_of(recipe("digits"), ["vkd", "kd", "none", "rkd"])
    tried = {variant.name: candidates(variant, Tuning()) for variant in variants}
    assert {len(changes) for changes in tried.values()} == {5}
    fields = {name: next(iter(changes[0])) for name, changes in tried.items()}
    assert fields == {
        "vkd": "feature_weight", "kd": "logit_weight", "none": "lr", "rkd": "feature_weight",
    }  # fmt: skip


def test_a_candidate_that_diverges_is_not_chosen(compare, tmp_path, monkeypatch):
    from vkd.errors import RunError

    original = runs.train

    def train(config, folder, **options):
        if "tuning" in str(folder) and config.feature_weight == 1.0:
            folder.mkdir(parents=True)
            raise RunError("The loss is nan.")
        return original(config, folder, **options)

    monkeypatch.setattr(runs, "train", train)
    tuning = Tuning(
        candidates={"vkd": [{"feature_weight": w} for w in (1.0, 10.0)], "none": [{"lr": 1e-3}]}
    )
    results = compare(["vkd", "none"], tmp_path / "c", seeds=1, tuning=tuning)
    assert results["tuning"][0]["validation"] == []
    assert results["settings"]["vkd"] == {}


def test_the_teacher_is_trained_once(tmp_path, trained):
    changes = QUICK | {"seeds": 2, "processes": 1, "show": False}
    network = {"epochs": 1, "train_fraction": 0.3}
    vkd.compare("digits", ["vkd", "kd"], tmp_path / "c", network_changes=network, **changes)
    assert trained == ["teacher", "vkd-0", "kd-0", "vkd-1", "kd-1"]
    results = json.loads((tmp_path / "c" / "results.json").read_text())
    assert results["networks"]["teacher"]["accuracy"] > 10
    assert not list((tmp_path / "c" / "runs").glob("*/teacher"))


@pytest.mark.parametrize("method", ["kd", "crd", "rkd"])
def test_a_method_that_a_task_cannot_serve_is_refused_before_training(tmp_path, trained, method):
    with pytest.raises(FieldError, match=f"^methods: {method}: ") as refused:
        vkd.compare("digits-detection", ["vkd", method], tmp_path / "c", show=False)
    assert len(str(refused.value)) <= 300
    assert not trained
    assert not (tmp_path / "c").exists()


def test_a_method_from_outside_takes_part(compare, tmp_path, monkeypatch):
    entry = MethodEntry(target=Nearest, compares="features", weight=0.5)
    monkeypatch.setitem(METHODS, "nearest", entry)
    results = compare(["vkd", "nearest"], tmp_path / "c", seeds=1)
    assert results["settings"]["nearest"]["feature_weight"] == 0.5
    assert len(results["methods"]["nearest"]["accuracy"]) == 1


def test_a_student_in_a_file_of_python_is_compared(compare, tmp_path):
    file = tmp_path / "networks.py"
    file.write_text(
        "from vkd.models.factory import create_model\n"
        "def narrow():\n"
        '    return create_model("conv_vit_digits", embed_dim=16)\n'
    )
    fields = {"student": f"{file}:narrow", "student_layer": "norm"}
    results = compare(["vkd", "none"], tmp_path / "c", seeds=1, **fields)
    whole = compare(["vkd", "none"], tmp_path / "d", seeds=1)
    narrow, wide = (found["methods"]["vkd"]["parameters"][0] for found in (results, whole))
    assert narrow < wide / 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": ["vkd"]}, "methods must be two or more, found vkd alone."),
        ({"methods": []}, "methods must name two or more methods, found none."),
        ({"methods": ["vkd", "dk"]}, "found 'dk'; did you mean dkd?"),
        ({"methods": {"a b": {}, "a-b": {}}}, "methods are 'a b' and 'a-b'"),
        ({"methods": ["vkd", "kd"], "reference": "kdd"}, "reference must be one of vkd, kd"),
        ({"methods": ["vkd", "kd"], "seeds": 0}, "seeds must be from 1 to 100, found 0."),
        ({"methods": ["vkd", "kd"], "processes": -1}, "processes must be from 0"),
    ],
)
def test_mistakes_are_one_sentence(compare, tmp_path, options, message):
    with pytest.raises(UserError) as refused:
        compare(**{"folder": tmp_path / "c"} | options)
    assert message in str(refused.value)
    assert not (tmp_path / "c").exists()


def test_the_command_names_its_flags(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["compare", "digits"]) == 2
    assert "--methods is required: names of vkd, " in capsys.readouterr().err
    assert main(["compare", "digits", "--methods", "vkd,kd", "--tune-epochs", "3"]) == 2
    assert "--tune must be given" in capsys.readouterr().err
    assert main(["compare", "digits-detection", "--methods", "vkd,kd"]) == 2
    assert "vkd: --methods: kd: " in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_compares_side_by_side(vkd, digits_teacher, tmp_path):
    arguments = [
        "compare", "digits", "--methods", "vkd,kd", "--seeds", 2, "--epochs", 1,
        "--warmup-epochs", 0, "--device", "cpu", "--teacher-checkpoint", digits_teacher,
        "--processes", 2, "--output", tmp_path / "c",
    ]  # fmt: skip
    done = vkd(*arguments)
    assert done.returncode == 0, done.stderr
    assert "vkd minus ..." in done.stdout
    assert "0 runs to do, about 0:00:00 left" in done.stderr
    results = json.loads((tmp_path / "c" / "results.json").read_text())
    assert all(len(found["accuracy"]) == 2 for found in results["methods"].values())
    again = vkd(*arguments)
    assert "runs to do" not in again.stderr


@pytest.mark.slow
def test_a_killed_comparison_leaves_no_process_behind(digits_teacher, tmp_path):
    arguments = [
        "compare", "digits", "--methods", "vkd,kd", "--seeds", 1, "--epochs", 3000,
        "--warmup-epochs", 0, "--device", "cpu", "--teacher-checkpoint", digits_teacher,
        "--processes", 2, "--output", tmp_path / "c", "--train-fraction", 0.3,
        "--checkpoint-every", 1,
    ]  # fmt: skip
    command = [sys.executable, "-m", "vkd", *map(str, arguments)]
    parent = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(600):
        if len({state.parents[1] for state in tmp_path.glob("c/runs/*/checkpoints/epoch-*")}) == 2:
            break
        time.sleep(0.2)
    children = parent.children(recursive=True)
    assert len(children) >= 2
    parent.kill()
    _, alive = psutil.wait_procs([parent, *children], timeout=30)
    assert alive == []
