"""The flags of ``vkd train``: a change of them is made on purpose.

After one, write them anew: ``python tests/cli/test_flags.py``.
"""

import json
import re
from pathlib import Path

import pytest

from vkd.cli.commands import train
from vkd.recipe import recipe_names

GOLDEN = Path(__file__).parents[1] / "golden" / "flags.json"
RECIPES = ("digits", "digits-detection", "gan-digits")


def flags_in(text):
    """Flags in the order of a help text, each with its heading."""
    found, heading = [], ""
    for line in text.splitlines():
        if title := re.match(r"(\w.*):$", line):
            heading = title[1]
        elif flag := re.match(r"  (?:-\w, )?(--[\w-]+)", line):
            found.append(f"{heading} | {flag[1]}")
    return found


@pytest.mark.parametrize("name", RECIPES)
def test_the_flags_are_those_that_were_agreed(name, capsys):
    with pytest.raises(SystemExit):
        train([name, "--help"])
    found = flags_in(capsys.readouterr().out)
    assert len(found) > 40
    assert found == json.loads(GOLDEN.read_text())[name]


def test_every_task_has_its_flags_here():
    assert set(RECIPES) <= set(recipe_names())


if __name__ == "__main__":
    from contextlib import redirect_stdout, suppress
    from io import StringIO

    helps = {}
    for recipe in RECIPES:
        with redirect_stdout(StringIO()) as out, suppress(SystemExit):
            train([recipe, "--help"])
        helps[recipe] = flags_in(out.getvalue())
    GOLDEN.write_text(json.dumps(helps, indent=1) + "\n")
