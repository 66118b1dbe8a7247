"""What the README shows works."""

import re
import shlex
from pathlib import Path

import pytest

from vkd.cli import HELP, main
from vkd.recipe import recipe_names

README = Path(__file__).parent.parent / "README.md"


@pytest.mark.slow
def test_the_python_examples_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(examples) == 3
    names = {}
    for example in examples:
        exec(example, names)
    assert names["loss"].isfinite()
    assert 0 <= names["metrics"]["accuracy"] <= 100
    assert names["distiller"].loss.projection.parameter.grad.abs().sum() > 0
    assert names["found"]["pred_logits"].shape == (2, 100, 91)
    assert names["found"]["pred_boxes"].shape == (2, 100, 4)


def test_the_commands_and_recipes_exist():
    shell = re.findall(r"^vkd (\w+) ?([\w-]*)", README.read_text(), re.MULTILINE)
    assert len(shell) >= 6
    for command, argument in shell:
        assert command in HELP
        if command == "train":
            assert argument in recipe_names()


def test_the_flags_exist(capsys):
    text = README.read_text().replace("\\\n", " ")
    lines = [
        shlex.split(line, comments=True) for line in re.findall(r"^vkd .*", text, re.MULTILINE)
    ]
    assert len(lines) > 15
    for _, command, *words in lines:
        recipe = words[:1] if command in ("train", "cache", "compare") else []
        assert main([command, *recipe, "--help"]) == 0
        told = capsys.readouterr().out
        for flag in (word for word in words if word.startswith("--")):
            assert re.search(rf"{flag}\b", told), f"{command} {flag}"
