"""What may move, and what may not change, when a run is resumed."""

import shutil

import pytest

from support.photographs import distilled, write_teacher
from vkd.api.train import train
from vkd.errors import UserError
from vkd.recipe import recipe
from vkd.training.records import read_metrics


@pytest.fixture
def begun(tmp_path, interrupted):
    """A distilled run that was interrupted after its first of two epochs; returns its changes."""
    changes = distilled(tmp_path) | {"epochs": 2}
    interrupted(recipe("deit-tiny-imagenet", **changes), tmp_path / "run")
    return changes


def resumed(folder, changes):
    return train("deit-tiny-imagenet", folder / "run", resume=True, show=False, **changes)


def test_a_run_goes_on_after_data_and_teacher_moved(begun, tmp_path):
    shutil.move(tmp_path / "data", tmp_path / "elsewhere")
    shutil.move(tmp_path / "teacher.pth", tmp_path / "t.pth")
    places = {
        "data_path": str(tmp_path / "elsewhere"), "teacher_checkpoint": str(tmp_path / "t.pth")
    }  # fmt: skip
    resumed(tmp_path, begun | places)
    assert len(read_metrics(tmp_path / "run")) == 2


def test_a_run_does_not_go_on_with_other_pictures(begun, tmp_path):
    next((tmp_path / "data" / "train").rglob("*.JPEG")).unlink()
    with pytest.raises(UserError, match="data_path holds something else than when the run"):
        resumed(tmp_path, begun)


def test_a_run_does_not_go_on_with_another_teacher(begun, tmp_path):
    write_teacher(tmp_path)
    with pytest.raises(UserError, match="teacher_checkpoint holds something else"):
        resumed(tmp_path, begun)


def test_what_is_computed_still_cannot_change(begun, tmp_path):
    with pytest.raises(UserError, match=r"lr is 0\.5 but the run"):
        resumed(tmp_path, begun | {"lr": 0.5})


def test_a_run_that_does_not_say_what_it_was_made_of_goes_on_with_a_word(begun, tmp_path, caplog):
    (tmp_path / "run" / "sources.json").unlink()
    resumed(tmp_path, begun)
    assert "not compared" in caplog.text
