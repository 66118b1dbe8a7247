"""The examples run as their readers run them."""

import re
from pathlib import Path

import pytest

from support.commands import run_python

EXAMPLES = Path(__file__).parents[1] / "examples"
FILES = sorted(EXAMPLES.glob("*.py"))
NEEDS = {
    "lightning_fit": "lightning",
    "text_pair": "transformers",
    "transformers_trainer": "transformers",
}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_runs_and_its_losses_fall(file, tmp_path):
    if file.stem in NEEDS:
        pytest.importorskip(NEEDS[file.stem])
    done = run_python(file, cwd=tmp_path, HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    losses = re.findall(r"(?:loss|distillation): ([\d.]+) -> ([\d.]+)", done.stdout)
    assert losses
    for first, last in losses:
        assert float(last) < 0.9 * float(first), done.stdout
    assert not list(tmp_path.iterdir())


def test_each_is_a_page_and_in_the_table():
    assert len(FILES) == 10
    table = (EXAMPLES / "README.md").read_text()
    for file in FILES:
        assert f"[{file.name}]({file.name})" in table
        assert len(file.read_text().splitlines()) <= 65, file.name
