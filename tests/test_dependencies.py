"""What the package imports is what it declares, and docs/dependencies.md says what for."""

import importlib.util
import re
from pathlib import Path

import pytest

from vkd.config import TrainingConfig
from vkd.config import training as config
from vkd.errors import FieldError
from vkd.training.trackers import check_trackers

SCRIPT = Path(__file__).parent.parent / "scripts" / "dependencies.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("dependencies", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def names(script):
    """The declared distributions, extras among them."""
    return {name for group in script.declared().values() for name in group}


def test_every_import_is_declared(script, names):
    declared = {script.module_of(name) for name in names}
    assert script.imports().keys() - declared == set(script.BROUGHT)
    assert set(script.BROUGHT.values()) <= names


def test_everything_declared_is_used(script, names):
    unused = {name for name in names if script.module_of(name) not in script.imports()}
    assert unused <= script.THROUGH.keys()


def test_what_is_no_extra_is_not_in_one(script):
    base, *extras = script.declared().values()
    assert not set(base) & {name for extra in extras for name in extra}


def test_the_page_has_a_line_for_each(script, names):
    text = script.DOCS.read_text()
    rows = re.findall(r"^\| (\w[\w-]*) \| (.+?) \| (.+?) \| (.+?) \|", text, re.MULTILINE)
    told = {name: purpose for name, purpose, *_ in rows if name != "package"}
    assert told == {name: script.PURPOSES[name] for name in names}, "run the script with --write"
    # The page is what the script writes, whatever the sizes.
    table = text.partition(script._BEGIN)[2].partition(script._END)[0][1:-1]
    assert script.written(text, table) == text


def test_requirements_are_followed_through_extras(script, monkeypatch):
    required = {
        "first": ["second[part]; python_version > '3'", "absent"],
        "second": ["third; extra == 'part'", "fourth; extra == 'other'"],
        "third": ["first"],
        "fourth": [],
    }

    class Known:
        def __init__(self, name):
            self.requires = required[name]

    def distribution(name):
        if name not in required:
            raise script.PackageNotFoundError(name)
        return Known(name)

    monkeypatch.setattr(script, "distribution", distribution)
    assert script.with_requirements(["first"]) == {"first", "second", "third"}


def test_tensorboard_is_used_where_it_is_there(monkeypatch):
    assert TrainingConfig(task="any").tracker_names == ["tensorboard"]
    assert TrainingConfig(task="any", trackers="wandb, auto").tracker_names[-1] == "tensorboard"
    monkeypatch.setattr(config, "find_spec", lambda name: None)
    assert TrainingConfig(task="any").tracker_names == []
    assert TrainingConfig(task="any", trackers="tensorboard").tracker_names == ["tensorboard"]


def test_an_absent_tensorboard_is_one_sentence(monkeypatch):
    monkeypatch.setattr("accelerate.tracking.get_available_trackers", list)
    with pytest.raises(FieldError, match=r"pip install 'vkd\[tensorboard\]'\.$"):
        check_trackers(["tensorboard"])
