"""Experiment trackers by name."""

import re
import subprocess
import sys

import pytest
from accelerate import tracking
from accelerate.tracking import GeneralTracker, register_tracker_class

import vkd
from support.commands import ENVIRONMENT
from vkd.cli import main
from vkd.errors import FieldError
from vkd.training.records import read_metrics
from vkd.training.trackers import check_trackers


class Memory(GeneralTracker):
    """A tracker that keeps what it is given."""

    name = "memory"
    requires_logging_directory = False
    runs = []  # noqa: RUF012

    def __init__(self, run_name, **kwargs):
        super().__init__(_blank=True)
        self.project, self.settings, self.logged, self.is_finished = run_name, {}, [], False
        self.runs.append(self)

    @property
    def tracker(self):
        return self

    def start(self):
        pass

    def store_init_configuration(self, values):
        self.settings = values

    def log(self, values, step=None, **kwargs):
        self.logged.append((step, values))

    def finish(self):
        self.is_finished = True


@pytest.fixture
def memory():
    register_tracker_class(Memory)
    yield Memory
    del tracking.LOGGER_TYPE_TO_CLASS["memory"]
    Memory.runs.clear()


def test_names_hold_no_sign_that_a_tracker_refuses(memory, digits_teacher, tmp_path):
    vkd.train(
        "digits-embedding", tmp_path / "run", epochs=1, warmup_epochs=0, evaluate_every=1,
        device="cpu", show=False, teacher_checkpoint=str(digits_teacher), trackers="memory",
        layers={"blocks.1": "features", "norm": "features"},
    )  # fmt: skip
    ((_, values),) = memory.runs[0].logged
    assert {"explained/blocks.1 to features", "explained/norm to features"} <= values.keys()
    # MLflow takes letters, digits, _, -, ., /, : and spaces.
    assert not [name for name in values if re.search(r"[^\w\-./: ]", name)]


def test_a_tracker_gets_settings_and_every_epoch(memory, digits_teacher, tmp_path):
    folder = tmp_path / "run"
    vkd.train(
        "digits", folder, epochs=2, warmup_epochs=0, evaluate_every=1, device="cpu", show=False,
        teacher_checkpoint=str(digits_teacher), trackers="memory, tensorboard",
    )  # fmt: skip
    (run,) = memory.runs
    assert (run.project, run.is_finished) == ("vkd", True)
    assert run.settings["epochs"] == 2
    records = read_metrics(folder)
    assert [step for step, _ in run.logged] == [1, 2]
    for (_, values), record in zip(run.logged, records, strict=True):
        assert values["lr"] == record["lr"]
        assert values["waiting"] == record["waiting"]
        assert values["train/feature"] == record["train"]["feature"]
        assert values["validation/accuracy"] == record["validation"]["accuracy"]
    assert list((folder / "tensorboard").glob("events.out.tfevents.*"))


def test_unknown_and_missing_trackers_are_refused_before_anything(tmp_path, capsys):
    command = ["train", "digits", "--output", str(tmp_path / "run"), "--trackers"]
    assert main([*command, "tensorbord"]) == 2
    assert "did you mean tensorboard?" in capsys.readouterr().err
    absent = {"wandb", "mlflow", "trackio"} - set(map(str, tracking.get_available_trackers()))
    for name in absent:
        assert main([*command, name]) == 2
        assert f"--trackers {name} needs a package: pip install {name}." in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    with pytest.raises(FieldError, match="trackers has 'all'"):
        check_trackers(["all"])


def test_a_tracker_that_does_not_start_is_one_sentence(memory, monkeypatch, tmp_path, capsys):
    def refuse(self):
        raise OSError("no route to the server\nand more")

    monkeypatch.setattr(memory, "start", refuse)
    command = ["train", "digits", "--method", "none", "--epochs", "1", "--warmup-epochs", "0"]
    assert main([*command, "--trackers", "memory", "--output", str(tmp_path / "run")]) == 1
    expected = "vkd: The tracker memory could not be started: no route to the server"
    assert capsys.readouterr().err.splitlines()[-1] == expected


def test_no_tracker_is_imported_before_it_is_named():
    code = (
        "import sys, vkd.api.train, vkd.classification.task, vkd.training.trainer;"
        "sys.exit(any(name in sys.modules for name in ('tensorboard', 'wandb', 'mlflow')))"
    )
    assert subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT).returncode == 0
