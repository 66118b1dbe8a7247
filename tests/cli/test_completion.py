"""Completion, as a shell asks for it, in a real process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vkd.cli import main
from vkd.cli.command import HELP
from vkd.recipe import recipe_names

VKD = Path(sys.executable).with_name("vkd")


@pytest.fixture
def completed(tmp_path, monkeypatch):
    """The words that complete a line, as argcomplete's shell functions get them."""
    monkeypatch.chdir(tmp_path)

    def complete(line):
        file = tmp_path / "completions"
        file.write_text("")
        asked = {
            "_ARGCOMPLETE": "1", "_ARGCOMPLETE_SHELL": "bash", "COMP_LINE": line,
            "COMP_POINT": str(len(line)), "COMP_TYPE": "9", "_ARGCOMPLETE_IFS": "\n",
            "_ARGCOMPLETE_STDOUT_FILENAME": str(file),
            "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
        }  # fmt: skip
        done = subprocess.run([VKD], env=os.environ | asked, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return {word.strip() for word in file.read_text().split("\n")} - {""}

    return complete


def test_commands_are_completed(completed):
    assert completed("vkd ") >= set(HELP)
    assert completed("vkd re") == {"report", "recipes", "replay"}


def test_recipes_and_recipe_files_are_completed(completed, tmp_path):
    (tmp_path / "digits-mine.yaml").write_text("task: classification\n")
    (tmp_path / "digits.txt").write_text("")
    assert completed("vkd train digits-m") == {"digits-mine.yaml"}
    assert completed("vkd compare vidt-n") == {"vidt-nano-coco"}
    assert completed("vkd cache ") >= set(recipe_names())


@pytest.mark.parametrize(
    ("line", "flags"),
    [
        ("vkd train digits --batch-s", {"--batch-size"}),
        ("vkd train digits --epochs 3 --warm", {"--warmup-epochs", "--warmup-lr"}),
        ("vkd compare digits --tune-", {"--tune-epochs", "--tune-seeds"}),
        ("vkd export --checkpoint x --he", {"--height", "--help"}),
        ("vkd train digits --projection o", {"orthogonal"}),
    ],
)
def test_flags_and_their_choices_are_completed(completed, line, flags):
    assert completed(line) == flags


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_what_a_shell_needs_is_printed(shell, capsys):
    assert main(["completion", shell]) == 0
    assert "vkd" in capsys.readouterr().out


def test_bash_reads_it(capsys):
    main(["completion", "bash"])
    script = capsys.readouterr().out + "\ncomplete -p vkd\n"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "vkd" in done.stdout


def test_another_shell_is_a_sentence(capsys):
    assert main(["completion", "csh"]) == 2
    assert "must be one of bash, zsh" in capsys.readouterr().err
