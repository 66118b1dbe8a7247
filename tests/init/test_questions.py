"""``vkd init`` at a terminal."""

import pytest

from support.photographs import distilled
from support.terminal import talk

FIRST = "Pictures: a folder, table or data.yaml"


@pytest.mark.slow
def test_what_is_missing_is_asked_for_again_and_again_with_the_reason(tmp_path):
    distilled(tmp_path)
    answers = ["absent", "data", "resnet10x", "resnet10t", "absent.pth", "teacher.pth", "test_vit",
               "recipe.txt", ""]  # fmt: skip
    arguments = ("init", "--epochs", 3, "--measure", "false", "--task", "classification")
    shown, code = talk(arguments, [f"{word}\n" for word in answers], tmp_path)
    assert code == 0, shown
    assert shown.count(FIRST) == 2
    assert "  there is no absent.\n" in shown
    assert "  there is no model 'resnet10x'" in shown
    assert "  There is no checkpoint at absent.pth.\n" in shown
    assert "  must end in .yaml, found 'recipe.txt'.\n" in shown
    assert "(recipe.yaml): " in shown
    assert "student: test_vit" in (tmp_path / "recipe.yaml").read_text()


@pytest.mark.slow
def test_interrupting_the_questions_ends_quietly(tmp_path):
    shown, code = talk(("init",), ["\x03"], tmp_path)
    assert code == 130
    assert shown.replace("^C", "").strip() == f"{FIRST}:"
    shown, code = talk(("init",), ["\x04"], tmp_path)
    assert code == 2
    assert "There was no answer" in shown
