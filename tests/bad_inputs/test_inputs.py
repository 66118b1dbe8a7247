"""Bad command lines, recipes and weights files, each answered by one sentence."""

import pytest

from bad_inputs import commands, flags, outputs, paper_commands, recipes, weights
from bad_inputs.table import check

TABLES = {
    "flags": flags.CASES, "outputs": outputs.CASES, "recipes": recipes.CASES,
    "weights": weights.CASES, "commands": commands.CASES, "paper": paper_commands.CASES,
}  # fmt: skip
CASES = [(table, case) for table, cases in TABLES.items() for case in cases]


@pytest.mark.parametrize(
    ("table", "case"), CASES, ids=[f"{table}: {ascii(case.name)[1:60]}" for table, case in CASES]
)
def test_a_bad_input_is_answered_by_a_sentence(table, case, tmp_path, beside):
    check(case, tmp_path, beside)
