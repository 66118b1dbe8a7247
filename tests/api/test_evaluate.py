"""``vkd.evaluate`` and ``vkd eval`` keep what the recipe says."""

import pytest
import yaml

from vkd.api.evaluate import evaluate
from vkd.classification import task
from vkd.cli import main
from vkd.errors import FieldError


@pytest.fixture
def workers(monkeypatch):
    """The numbers of workers that loaders are asked for; none is started."""
    found, loader = [], task.loader

    def load(*arguments, workers=0, **options):
        found.append(workers)
        return loader(*arguments, workers=0, **options)

    monkeypatch.setattr(task, "loader", load)
    return found


@pytest.fixture
def recipe_file(digits_run, tmp_path):
    """The recipe of a run, with three workers."""
    values = yaml.safe_load((digits_run / "recipe.yaml").read_text()) | {"workers": 3}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(values))
    return tmp_path / "recipe.yaml"


@pytest.mark.parametrize(("flags", "expected"), [([], 3), (["--workers", "1"], 1)])
def test_the_command_keeps_the_recipes_workers_unless_told(
    digits_run, recipe_file, workers, flags, expected
):
    arguments = ["eval", "--checkpoint", str(digits_run), "--recipe", str(recipe_file)]
    assert main([*arguments, *flags]) == 0
    assert workers == [expected]


def test_python_keeps_them_too(digits_run, recipe_file, workers):
    evaluate(str(digits_run), str(recipe_file))
    assert workers == [3]


def test_what_has_no_meaning_for_a_task_is_refused(digits_run):
    with pytest.raises(FieldError, match="predictions has no meaning for classification"):
        evaluate(str(digits_run), predictions="boxes.json")
